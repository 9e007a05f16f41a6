"""The section about the survey: the flow of numbers, how complete it is, a timeline, and what became of each work."""

from collections import Counter
from collections.abc import Iterator

from agents.report import figures
from agents.report.blocks import Block, Cell, Figure, Paragraph, Section, Table
from agents.report.content import ReportInput, shown
from agents.report.wording import Say
from agents.survey.figures import flow_of
from agents.survey.language import sentence
from core.types.candidate import Applicabilities, Applicability
from core.types.work import Survey, Work

SERIES = 6


def survey_section(report: ReportInput, say: Say) -> Section | None:
    """Return the works with what became of each; None where there was no survey."""
    survey = report.survey
    if survey is None:
        return None
    blocks: list[Block] = [Paragraph(text=_survey_text(survey, say)), *_timeline(survey, say)]
    if survey.works:
        verdicts = Applicabilities(rows=report.applicabilities).by_work
        rows = tuple(_work_row(report, w, verdicts.get(w.key), say) for w in _sorted(survey.works))
        columns = ("work", "year", "categories", "code", "applied", "our_score")
        table = Table(columns=tuple(say(c) for c in columns), rows=rows, caption=say("survey_caption"), wide=True)
        blocks.append(table)
        blocks.append(Paragraph(text=say("survey_files"), quiet=True))
    return Section(id="survey", title=say("survey"), blocks=tuple(blocks))


def _survey_text(survey: Survey, say: Say) -> str:
    text = say("survey_text", kept=len(survey.works), dropped=survey.dropped, borderline=len(survey.borderline))
    flow = flow_of(survey)
    if flow.records:
        text += " " + say(
            "survey_flow", records=flow.records, sources=say.listed([f"{n} {c}" for n, c in flow.by_source]),
            distinct=flow.distinct, code=flow.with_code,
        )  # fmt: skip
    coverage = survey.coverage
    if coverage and None not in (coverage.estimated_total, coverage.low, coverage.high):
        body = say(
            "coverage_text", total=round(coverage.estimated_total or 0), low=round(coverage.low or 0),
            high=round(coverage.high or 0), method=coverage.method,
        )  # fmt: skip
        text += " " + say("coverage", text=body)
    return text


def _sorted(works: tuple[Work, ...]) -> list[Work]:
    return sorted(works, key=lambda w: (w.categories[:1], -(w.year or 0), w.title))


def _work_row(report: ReportInput, work: Work, verdict: Applicability | None, say: Say) -> tuple[Cell, ...]:
    code = next((r.url for r in work.repositories if r.url.startswith("https://")), None)
    url = work.url if work.url and work.url.startswith("https://") else None
    applied = "–"
    if verdict is not None:
        applied = say.listed([part for part in (verdict.method, say(verdict.fidelity.value)) if part])
        applied = " ".join((f"{applied}.", *(sentence(part) for part in (verdict.reason, verdict.outcome) if part)))
    score, refs = _score_of(report, work.key)
    return (
        Cell(text=work.title, url=url),
        Cell(text=str(work.year or "–"), kind="number"),
        Cell(text=say.listed(list(work.categories)) or "–"),
        Cell(text=code.removeprefix("https://") if code else "–", url=code),
        Cell(text=applied),
        Cell(text=score, refs=refs, kind="number"),
    )


def _score_of(report: ReportInput, work_key: str) -> tuple[str, tuple[str, ...]]:
    board = report.leaderboards.get("screen")
    row = next((r for r in board.rows if r.candidate.work_key == work_key), None) if board else None
    if row is None:
        return "–", ()
    return shown(row.score), report.refs(row.candidate.id, "screen")


def _timeline(survey: Survey, say: Say) -> Iterator[Figure]:
    """Yield works by year, stacked by first category; the smaller categories are one."""
    dated = [(w.year, w.categories[0] if w.categories else "") for w in survey.works if w.year]
    if len({year for year, _ in dated}) < 2:
        return
    sizes = Counter(category for _, category in dated if category)
    leading = [name for name, _ in sizes.most_common(SERIES)]
    counts = Counter((year, name if name in leading else "") for year, name in dated)
    years = list(range(min(y for y, _ in dated), max(y for y, _ in dated) + 1))
    series = {name or say("rest"): [counts[year, name] for year in years] for name in (*leading, "")}
    drawn = {name: values for name, values in series.items() if any(values)}
    svg = figures.timeline(years, drawn, say("works_axis"))
    lines = [f"{year},{name},{values[place]}" for name, values in drawn.items() for place, year in enumerate(years)]
    data = "\n".join(("year,category,works", *lines)) + "\n"
    yield Figure(name="timeline", caption=say("timeline_caption"), svg=svg, alt=say("timeline_caption"), data=data)
