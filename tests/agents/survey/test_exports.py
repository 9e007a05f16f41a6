"""Exports are well-formed and harmless whatever the works' texts hold."""

import csv
import io
import json
import re
from xml.etree.ElementTree import fromstring

import pytest

from agents.survey.command import render
from agents.survey.figures import flow_figure, flow_of, taxonomy_figure, timeline_figure
from agents.survey.language import in_language
from agents.survey.merging_taxonomy import MERGING
from agents.survey.prose import citation_problems, plain_paragraphs
from agents.survey.sources.bibtex import parse_bibtex
from core.types.work import Coverage, LedgerRow, Repository, RepositoryStatus, Survey, Work, WorkIds

EVIL = '<script>alert(1)</script> | `x` [y](javascript:z) & {brace} $\\input{/etc/passwd}$ "q"'


@pytest.fixture
def survey() -> Survey:
    works = (
        Work(
            key="arxiv:2301.00001", title=EVIL, authors=("=cmd()", "B. Lee"), year=2023, categories=("weighted",),
            ids=WorkIds(arxiv="2301.00001"), url="javascript:alert(1)", pros=(EVIL,), evidence=EVIL,
            repositories=(Repository(url="https://github.com/a/b", status=RepositoryStatus.MOVED, licence="MIT"),),
        ),
        Work(key="doi:10.5555/x", title="Second Work", year=2024, categories=("weighted",), venue="ICML",
             authors=("B. Lee",), ids=WorkIds(doi="10.5555/x")),
        Work(key="s2:f", title="Third [arxiv:9999.99999] Work", year=2024, categories=("other",), authors=("B. Lee",)),
    )  # fmt: skip
    return Survey(
        works=works,
        borderline=(Work(key="title:1", title=EVIL, evidence=EVIL),),
        dropped=4,
        taxonomy={"weighted": f"Weighted: {EVIL}", "other": "Other: the rest"},
        ledger=(
            LedgerRow(source="arxiv", query=EVIL, found=12, new=8, kept=3),
            LedgerRow(source="hub", query="q", found=2),
        ),
        coverage=Coverage(method="Chao", note=EVIL),
        stop_reason="done",
        prose=("A text on [arxiv:2301.00001] & <b>more</b>.",),
    )


def test_nothing_hostile_survives_in_html(survey: Survey) -> None:
    page = render(survey, EVIL)["survey.html"]
    assert "<script" not in page
    assert "javascript:" not in page.replace("(javascript:z)", "")
    assert 'href="https://arxiv.org/abs/2301.00001"' in page
    assert "default-src" in page


def test_nothing_hostile_survives_in_markdown(survey: Survey) -> None:
    text = render(survey, EVIL)["survey.md"]
    assert "<script" not in text
    assert "[y](javascript" not in text
    assert "[=cmd() &amp; Lee 2023](<https://arxiv.org/abs/2301.00001>)" in text
    assert "\\[y\\]" in text
    rows = [line for line in text.splitlines() if "Second Work" in line and line.startswith("|")]
    assert rows
    assert rows[0].replace("\\|", "").count("|") == 6


def test_bibtex_is_read_back(survey: Survey) -> None:
    read = parse_bibtex(render(survey, "t")["survey.bib"])
    assert read.broken == 0
    assert len({e["key"] for e in read.entries}) == 3
    assert read.entries[1]["doi"] == "10.5555/x"
    assert "\\input" not in render(survey, "t")["survey.bib"]


def test_csv_holds_every_work_and_no_formula(survey: Survey) -> None:
    rows = list(csv.DictReader(io.StringIO(render(survey, "t")["survey.csv"])))
    assert [r["screening"] for r in rows] == ["kept", "kept", "kept", "borderline"]
    assert rows[0]["authors"].startswith("'=")
    assert rows[0]["title"] == EVIL
    assert (rows[0]["code_status"], rows[0]["licence"]) == ("moved", "MIT")


def test_csl_is_json(survey: Survey) -> None:
    items = json.loads(render(survey, "t")["survey.csl.json"])
    assert items[0]["DOI"] == "10.48550/arXiv.2301.00001"
    assert items[1]["author"] == [{"family": "Lee", "given": "B."}]


def test_the_flow_adds_up(survey: Survey) -> None:
    flow = flow_of(survey)
    assert (flow.records, flow.distinct) == (14, 8)
    assert flow.kept + flow.borderline + flow.dropped == flow.distinct
    assert flow.with_code == 1


def test_a_chinese_report_is_chinese(survey: Survey) -> None:
    note = (
        "Coverage 96% to 100%. Sources depend on each other (what one knows, others tend to know), so the population "
        "is likely larger and coverage likely lower than estimated: read it as an upper bound."
    )
    plain = Work(
        key="s2:p", title="Titel", year=2024, categories=("subspace",), pros=("needs no training",),
        cons=("needs data",),
        evidence="its title names the topic; 12 in-scope works cite it",
    )  # fmt: skip
    told = survey.model_copy(
        update={
            "works": (plain,), "borderline": (plain,), "ledger": (LedgerRow(source="arxiv", query="q", found=1),),
            "taxonomy": MERGING.described(), "stop_reason": "the request budget was used up", "prose": (),
            "coverage": Coverage(method="No estimate", note=note),
        }
    )  # fmt: skip
    told = told.model_copy(update={"prose": tuple(plain_paragraphs(told, in_language("zh")))})
    exports = render(told, "标题", "zh")
    body = exports["survey.html"].partition("<body>")[2]
    for text in (exports["survey.md"], re.sub(r"<[^>]*>", " ", body)):
        words = set(re.findall(r"[A-Za-z]{3,}", text))
        assert words <= {"Titel", "arXiv", "ledger", "csv"}, words
        assert "任务间干扰更少" in text
        assert "被 12 篇范围内文献引用" in text


def test_figures_are_xml_and_show_the_numbers(survey: Survey) -> None:
    for draw in (flow_figure, taxonomy_figure, timeline_figure):
        fromstring(draw(survey, in_language("en")))
        fromstring(draw(survey, in_language("zh")))
    assert "Records identified: 14" in flow_figure(survey, in_language("en"))
    assert timeline_figure(survey.model_copy(update={"works": ()}), in_language("en")) == ""


def test_citations_are_checked() -> None:
    known = {"arxiv:2301.00001"}
    assert citation_problems(["Good [arxiv:2301.00001]."], known) == []
    assert "no kept work" in citation_problems(["Bad [arxiv:2301.00002]."], known)[0]
    assert "cites no work" in citation_problems(["None."], known)[0]


def test_the_policys_own_text_passes_the_check(survey: Survey) -> None:
    paragraphs = plain_paragraphs(survey, in_language("en"))
    assert citation_problems(paragraphs, {w.key for w in survey.works}) == []
    assert len(paragraphs) == 2
