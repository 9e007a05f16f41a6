"""The report: the same bytes for the same input, nothing from elsewhere, hostile text inert, numbers with evidence."""

import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser

import pytest

from agents.report.agent import report_files
from agents.report.blocks import Table
from agents.report.compose import compose
from agents.report.content import ReportInput
from agents.report.figures import pareto_front
from agents.report.next_steps import items_needed
from agents.report.prose import numbers_in, numbers_of, summary_question
from agents.report.wording import WORDS, Say
from core.types.evaluation import Interval, Score
from core.types.work import Survey
from tests.agents.report.sample import sample_input

HOSTILE = '<script>alert(1)</script> | [x](javascript:alert) $\\frac{1}{0}$ " onload="x'


@pytest.fixture(scope="module")
async def sample() -> ReportInput:
    return await sample_input(trials=12)


@pytest.fixture(scope="module")
def files(sample: ReportInput) -> Mapping[str, str]:
    return report_files(sample, "Text.")


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in {"meta", "br", "img", "path", "use", "rect"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag


def parsed(html: str) -> Tags:
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    return tags


def test_a_work_of_several_methods_is_told_by_the_one_that_was_tried(files: Mapping[str, str]) -> None:
    (row,) = [line for line in files["report.md"].splitlines() if "arxiv.org/abs/2306.01708" in line]
    assert "ties, adapted. Trims each tensor. Rank 1 of 6 with 54.2%. |" in row
    assert "ot tried" not in row


def test_trials_are_called_by_their_numbers(sample: ReportInput) -> None:
    assert sample.optimization is not None
    first = {t.candidate_id: t for t in reversed(sample.optimization.trials)}
    assert len(first) > 1
    assert {sample.names[i] for i in first} == {f"{t.method}, trial {t.number}" for t in first.values()}


async def test_the_same_input_gives_the_same_bytes(sample: ReportInput, files: Mapping[str, str]) -> None:
    assert files == report_files(ReportInput.model_validate(sample.model_dump()), "Text.")


def test_the_page_is_self_contained(files: Mapping[str, str]) -> None:
    tags = parsed(files["report.html"])
    assert not {"script", "link", "iframe", "img", "object"} & set(tags.tags)
    loaded = [v for k, v in tags.attributes if k in {"src", "xlink:href"} and v and not v.startswith("#")]
    assert loaded == []
    assert not [k for k, _ in tags.attributes if k.startswith("on")]


def test_every_citation_leads_to_its_evaluation(sample: ReportInput, files: Mapping[str, str]) -> None:
    html = files["report.html"]
    cited = set(re.findall(r'href="#(e-[0-9a-f]{8})"', html))
    assert len(cited) > 10
    assert cited <= set(re.findall(r'id="(e-[0-9a-f]{8})"', html))
    ids = re.findall(r' id="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert sample.winner is not None
    assert all(f"[E:{ref}]" in html for ref in sample.refs(sample.winner.candidate.id, "confirm"))


def test_every_row_of_the_evidence_is_known(sample: ReportInput) -> None:
    evidence = compose(sample).sections[-1]
    assert evidence.id == "evidence"
    rows = [row for block in evidence.blocks if isinstance(block, Table) for row in block.rows]
    assert len(rows) > 30
    assert all(row[1].text != "–" for row in rows)
    assert any(row[2].text.endswith("(search)") for row in rows)


def test_hostile_text_stays_text(sample: ReportInput) -> None:
    assert sample.survey is not None
    work = sample.survey.works[0].evolve(title=HOSTILE, url="javascript:alert(1)")
    survey = Survey.model_validate({**sample.survey.model_dump(), "works": [work.model_dump()]})
    rows = sample.leaderboards["screen"].rows
    evil = rows[0].evolve(candidate=rows[0].candidate.evolve(name=HOSTILE))
    boards = {**sample.leaderboards, "screen": sample.leaderboards["screen"].evolve(rows=(evil, *rows[1:]))}
    report = sample.evolve(sow=sample.sow.evolve(title=HOSTILE), survey=survey, leaderboards=boards)
    files = report_files(report, HOSTILE)
    tags = parsed(files["report.html"])
    assert "script" not in tags.tags
    assert not [v for k, v in tags.attributes if k == "href" and v and v.startswith("javascript")]
    assert "onload" not in [k for k, _ in tags.attributes]
    markdown = files["report.md"]
    assert "<script>" not in markdown.replace("\\<script\\>", "")
    row = next(line for line in markdown.splitlines() if "alert" in line and line.startswith("|"))
    heads = [line for line in markdown.splitlines() if line.startswith("| ---") or line.startswith("| --")]
    assert heads
    assert row.replace("\\|", "").count("|") in {h.count("|") for h in heads}


def test_a_row_says_under_how_many_seeds_it_was_measured(sample: ReportInput, files: Mapping[str, str]) -> None:
    board = sample.leaderboards["screen"]
    last = board.rows[-1].evolve(seeds_note="stopped after 1 of 4 seeds: far behind")
    rows = (*(r.evolve(seeds=4) for r in board.rows[:-1]), last)
    report = sample.evolve(leaderboards={**sample.leaderboards, "screen": board.evolve(rows=rows)})
    found = report_files(report, "Text.")
    for name in ("report.html", "report.md"):
        assert "stopped after 1 of 4 seeds: far behind" in found[name]
        assert "Why no more seeds" in found[name]
        assert "Why no more seeds" not in files[name], "a column that says nothing"
    seconds = [r.seconds(board.rows[0].evolve(seeds=n), "screen") for r, n in ((report, 1), (report, 4))]
    assert seconds[0] == pytest.approx(4 * seconds[1])  # type: ignore[operator]
    assert found["figures/forest.csv"].splitlines()[1].endswith(",4")


def test_markdown_tables_are_tables(files: Mapping[str, str]) -> None:
    lines = files["report.md"].splitlines()
    rules = [n for n, line in enumerate(lines) if re.fullmatch(r"\|( -+:? \|)+", line)]
    assert len(rules) >= 6
    for n in rules:
        assert lines[n - 1].replace("\\|", "").count("|") == lines[n].count("|")
        assert lines[n + 1].replace("\\|", "").count("|") == lines[n].count("|")


def test_data_lies_beside_the_figures(files: Mapping[str, str]) -> None:
    figures = [n for n in files if n.endswith(".svg")]
    assert {"figures/history.svg", "figures/pareto.svg", "figures/forest.svg"} <= set(figures)
    for name in figures:
        lines = files[name.replace(".svg", ".csv")].splitlines()
        assert len(lines) > 1
        assert len({line.count(",") for line in lines}) == 1
    assert json.loads(files["report-tables.json"])["tried-0"]["rows"]
    assert "merge_method" in files["recipe.yaml"]
    assert "org/code" in files["recipe.yaml"]


async def test_chinese_has_no_english_labels_left() -> None:
    report = await sample_input("zh", trials=12)
    html = report_files(report, "摘要。")["report.html"]
    assert 'lang="zh-Hans"' in html
    assert "没有使用语言模型" in html
    titles = re.findall(r"<h2>([^<]*)</h2>", html)
    assert all(re.search("[\u4e00-\u9fff]", t) for t in titles)
    assert "得分" in report_files(report, "摘要。")["figures/forest.svg"]


def test_both_languages_take_the_same_values() -> None:
    for key, (english, chinese) in WORDS.items():
        assert set(re.findall(r"{(\w+)}", english)) == set(re.findall(r"{(\w+)}", chinese)), key


def test_a_run_without_a_model_says_so(sample: ReportInput, files: Mapping[str, str]) -> None:
    assert "no language model was used" in files["report.md"]
    asked = report_files(sample.evolve(llm_model="deepseek-chat"), "Text.")["report.md"]
    assert "deepseek-chat" in asked
    assert "no language model was used" not in asked


def test_an_empty_run_still_has_a_report(sample: ReportInput) -> None:
    files = report_files(ReportInput(run_id="r", sow=sample.sow), "")
    assert "Nothing could be evaluated" in files["report.html"]
    assert "recipe.yaml" not in files


def test_a_summary_may_only_use_the_reports_numbers(sample: ReportInput) -> None:
    document = compose(sample)
    question = summary_question(sample, document)
    assert question.check(question.policy()) == []
    shown = sorted(numbers_of(document))
    assert sample.winner is not None
    good = f"{sample.winner.score.value * 100:.1f}"
    assert good in shown
    assert question.check(question.answer(text=f"The best merge reaches {good} %.")) == []
    problems = question.check(question.answer(text="It reaches 99.97 % and see http://x.y"))
    assert problems == ["the number 99.97 is not in the report", "links are not allowed"]
    assert numbers_in("1,234 of 5.5.") == ["1234", "5.5"]


def test_what_to_try_next_follows_from_the_data(sample: ReportInput) -> None:
    say = Say("en")
    assert say("next_nothing")
    gap = Score(metric="difference", value=0.02, items=164, interval=Interval(low=-0.03, high=0.07, method="bootstrap"))
    # (1.96 + 0.84)² · variance / gain²: se = 0.0255, so 164 · (2.8 · 0.0255 / 0.02)².
    assert items_needed(gap) == pytest.approx(2090, rel=0.02)
    assert items_needed(gap.evolve(interval=None)) == 0


def test_the_front_holds_what_nothing_beats_in_both() -> None:
    assert pareto_front([(3.0, 0.9), (1.0, 0.5), (2.0, 0.4), (2.0, 0.7), (4.0, 0.8)]) == [1, 3, 0]
