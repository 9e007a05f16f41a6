"""The section about reproductions: the paper's claim beside our result, the verdict with its reason, cost and log."""

from agents.report.blocks import Cell, Paragraph, Section, Table
from agents.report.content import ReportInput, duration, interval
from agents.report.content import shown as as_read
from agents.report.wording import Say
from core.types.reproduction import ReproductionRow, Verdict

CLAIM_CHARACTERS = 160


def reproduction_section(report: ReportInput, say: Say) -> Section | None:
    """Return what agents reproduced from repositories; None where nothing was to be."""
    rows = report.reproductions
    if not rows:
        return None
    ranked = sum(r.verdict is Verdict.RANKED for r in rows)
    cost = sum(r.usage.cost_usd for r in rows)
    text = say("reproductions_text", count=len(rows), ranked=ranked, usd=f"{cost:.2f}")
    columns = ("work", "claim", "our_result", "outcome", "log")
    table = Table(
        columns=tuple(say(c) for c in columns), rows=tuple(_row(report, r, say) for r in rows),
        caption=say("reproductions_caption"), wide=True,
    )  # fmt: skip
    return Section(id="reproductions", title=say("reproductions"), blocks=(Paragraph(text=text), table))


def _row(report: ReportInput, row: ReproductionRow, say: Say) -> tuple[Cell, ...]:
    claim = row.claims[0] if row.claims else "–"
    shown = "–" if row.score is None else f"{as_read(row.score)} ({interval(row.score)})"
    refs = report.refs(row.candidate_id or "", "screen") if row.score else ()
    log = say(
        "reproduction_log", steps=row.events, calls=len(row.transcripts), usd=f"{row.usage.cost_usd:.4f}",
        time=duration(row.seconds), id=row.candidate_id,
    )  # fmt: skip
    return (
        Cell(text=row.work_title, url=row.repository or None),
        Cell(text=claim if len(claim) <= CLAIM_CHARACTERS else f"{claim[:CLAIM_CHARACTERS]}…"),
        Cell(text=shown, refs=refs, kind="number"),
        Cell(text=": ".join(part for part in (say(f"reproduction_{row.verdict}"), row.reason) if part)),
        Cell(text=log),
    )
