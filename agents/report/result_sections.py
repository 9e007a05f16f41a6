"""The sections about candidates: what was asked, the result, and what was tried."""

from collections.abc import Iterator, Sequence

from agents.report import figures
from agents.report.blocks import Block, Callout, Cell, Fact, Facts, Figure, Paragraph, Section, Status, Table
from agents.report.content import ReportInput, duration, gap, interval, is_share, point_interval, shown
from agents.report.wording import Say
from core.types.candidate import Leaderboard, Ranked
from core.types.evaluation import Score
from core.types.optimization import Comparison

STATUS: dict[str, Status] = {"improved": "good", "tied": "neutral", "worse": "bad", "unconfirmed": "neutral"}
SHOWN_IN_FIGURES = 16
VERDICT_WORDS = {"improved": "better", "tied": "same", "worse": "lower"}


def lead_blocks(report: ReportInput, say: Say, summary: str) -> tuple[Block, ...]:
    """Return the verdict, the key numbers and the summary."""
    return (verdict_callout(report, say), _facts(report, say), *([Paragraph(text=summary)] if summary else []))


def verdict_callout(report: ReportInput, say: Say) -> Callout:
    """Return the verdict in words, with the difference and its interval."""
    winner, confirmation = report.winner, report.confirmation
    if winner is None or report.board is None:
        return Callout(status="bad", title=say("unconfirmed"), text=say("no_result"))
    if confirmation is None or not confirmation.done:
        text = say(
            "unconfirmed_text", winner=winner.candidate.name, role=report.board.role, count=len(report.board.rows)
        )
        return Callout(status="neutral", title=say("unconfirmed"), text=text, refs=_refs(report, winner))
    own = _own(report)
    # The verdict names whom it is about: a finalist tied with one reference may still be better than the other.
    decisive = [c for c in own if c.verdict == confirmation.verdict] or own
    references = say.listed([report.names.get(c.reference_id, c.reference_id) for c in decisive])
    text = say(f"{confirmation.verdict}_text", winner=winner.candidate.name, references=references or "–")
    gaps = [
        say(
            "difference_to", points=gap(c.difference), name=report.names.get(c.reference_id, c.reference_id),
            interval=point_interval(c.difference),
        )
        for c in own
    ]  # fmt: skip
    tail = say("gaps", gaps=say("gap_separator").join(gaps)) if gaps else ""
    refs = tuple(r for c in own for i in (c.candidate_id, c.reference_id) for r in report.refs(i, "confirm"))
    return Callout(
        status=STATUS[confirmation.verdict], title=say(confirmation.verdict), text=text + tail,
        refs=tuple(dict.fromkeys(refs)),
    )  # fmt: skip


def _own(report: ReportInput) -> list[Comparison]:
    confirmation = report.confirmation
    if confirmation is None:
        return []
    return [c for c in confirmation.comparisons if c.candidate_id == confirmation.winner]


def _refs(report: ReportInput, row: Ranked) -> tuple[str, ...]:
    role = report.board.role if report.board else "screen"
    return report.refs(row.candidate.id, role)


def _facts(report: ReportInput, say: Say) -> Facts:
    facts, winner = [], report.winner
    if winner is not None:
        note = say("score_note", interval=interval(winner.score))
        facts.append(Fact(label=say("score"), value=shown(winner.score), note=note, refs=_refs(report, winner)))
    # The gain that counts is the one over the strongest reference.
    for comparison in sorted(_own(report), key=lambda c: c.difference.value)[:1]:
        name = report.names.get(comparison.reference_id, comparison.reference_id)
        note = say("gain_note", name=name, interval=point_interval(comparison.difference))
        facts.append(Fact(label=say("gain"), value=gap(comparison.difference), note=note))
    if report.optimization and report.optimization.trials:
        note = say("trials_note", items=f"{report.optimization.item_evaluations:,}")
        facts.append(Fact(label=say("trials"), value=str(len(report.optimization.trials)), note=note))
    spent = report.spent
    note = say("time_note", wall=duration(spent.wall_clock_s))
    facts.append(Fact(label=say("time"), value=duration(spent.gpu_s or report.worker_s), note=note))
    if report.llm_model is None:
        facts.append(Fact(label=say("llm"), value=say("no_llm"), note=say("no_llm_note")))
    else:
        note = say("llm_note", usd=f"{spent.llm_usd:.2f}", tokens=f"{spent.llm_tokens:,}")
        facts.append(Fact(label=say("llm"), value=report.llm_model, note=note))
    return Facts(facts=tuple(facts))


def task_section(report: ReportInput, say: Say) -> Section:
    """Return what the Statement of Work asked for."""
    sow, blocks = report.sow, list[Block]()
    blocks += [Paragraph(text=text) for text in (sow.motivation.strip(), sow.task.strip()) if text]
    if sow.models is not None:
        pairs = [(sow.models.base, say("base")), *((e, e.skill or say("expert")) for e in sow.models.experts)]
        rows = [
            (
                Cell(text=m.name, kind="code"),
                Cell(text=role),
                Cell(text=m.model, kind="code"),
                Cell(text=m.licence or "–"),
            )
            for m, role in pairs
        ]
        columns = (say("model"), say("role"), say("source"), say("license"))
        blocks.append(Table(columns=columns, rows=tuple(rows), caption=say("models_caption")))
    if sow.benchmarks:
        slices = [
            (
                Cell(text=b.name), Cell(text=b.role.value, kind="chip"), Cell(text=b.metric), Cell(text=b.protocol),
                Cell(text=f"T {b.sampling.temperature:g}, n {b.sampling.n_samples}"),
                Cell(text=f"{b.weight:g}", kind="number"),
            )
            for b in sow.benchmarks
        ]  # fmt: skip
        names = ("benchmark", "role", "metric", "protocol", "sampling", "weight")
        table = Table(columns=tuple(say(n) for n in names), rows=tuple(slices), caption=say("benchmarks_caption"))
        blocks.append(table)
    return Section(id="task", title=say("task"), blocks=tuple(blocks))


def result_section(report: ReportInput, say: Say) -> Section | None:
    """Return the confirmation: its leaderboard, skills and comparisons; None where nothing was confirmed."""
    board = report.leaderboards.get("confirm")
    if board is None or not board.rows:
        return None
    blocks: list[Block] = [_forest(board, say, "confirm"), board_table(report, board, say, "confirm_caption")]
    comparisons = report.confirmation.comparisons if report.confirmation else ()
    if comparisons:
        rows = [_comparison_row(report, c, say) for c in comparisons]
        columns = ("finalist", "reference", "difference", "interval", "p", "verdict")
        table = Table(columns=tuple(say(c) for c in columns), rows=tuple(rows), caption=say("comparisons_caption"))
        blocks.append(table)
    blocks += _skills(board, say)
    beside = report.leaderboards.get("show")
    if beside is not None and beside.rows:
        blocks.append(board_table(report, beside, say, "show_caption"))
    if board.note:
        blocks.append(Paragraph(text=board.note, quiet=True))
    return Section(id="result", title=say("result"), blocks=tuple(blocks))


def _comparison_row(report: ReportInput, c: Comparison, say: Say) -> tuple[Cell, ...]:
    refs = (*report.refs(c.candidate_id, "confirm"), *report.refs(c.reference_id, "confirm"))
    p = f"{c.adjusted_p:.3f}" if c.adjusted_p >= 0.001 else "< 0.001"
    return (
        Cell(text=report.names.get(c.candidate_id, c.candidate_id)),
        Cell(text=report.names.get(c.reference_id, c.reference_id)),
        Cell(text=gap(c.difference), refs=refs, kind="number"),
        Cell(text=point_interval(c.difference), kind="number"),
        Cell(text=p, kind="number"),
        Cell(text=say(VERDICT_WORDS[c.verdict]), kind="chip"),
    )


def tried_section(report: ReportInput, say: Say) -> Section | None:
    """Return the screening: leaderboard, forest, Pareto and skill figures; None where nothing was screened."""
    board = report.leaderboards.get("screen")
    if board is None or not board.rows:
        return None
    blocks: list[Block] = [_forest(board, say), board_table(report, board, say, "screen_caption")]
    blocks += _pareto(report, board, say)
    if "confirm" not in report.leaderboards or not report.leaderboards["confirm"].rows:
        blocks += _skills(board, say)
    if board.noise_floor is not None:
        blocks.append(Paragraph(text=say("noise", value=f"{board.noise_floor * 100:.1f}"), quiet=True))
    if board.note:
        blocks.append(Paragraph(text=board.note, quiet=True))
    return Section(id="tried", title=say("tried"), blocks=tuple(blocks))


def board_table(report: ReportInput, board: Leaderboard, say: Say, caption: str) -> Table:
    """Return a leaderboard as a table; a line between tie groups, baselines in gray."""
    columns = ["rank", "group", "candidate", "score", "interval", "to_leader", "seconds"]
    columns += ["seeds", "seeds_note"] if board.repeated else []
    rows = tuple(_board_row(report, board, row, say) for row in board.rows)
    muted = tuple(i for i, r in enumerate(board.rows) if r.candidate.kind == "baseline")
    return Table(columns=tuple(say(c) for c in columns), rows=rows, caption=say(caption), muted=muted)


def _board_row(report: ReportInput, board: Leaderboard, row: Ranked, say: Say) -> tuple[Cell, ...]:
    refs = report.refs(row.candidate.id, board.role)
    seconds = report.seconds(row, board.role)
    behind = f"{gap(row.difference)}  ({point_interval(row.difference)})" if row.difference else "–"
    return (
        Cell(text=str(row.rank), kind="number"),
        Cell(text=str(row.tie_group), kind="number"),
        Cell(text=row.candidate.name),
        Cell(text=shown(row.score), refs=refs, kind="number"),
        Cell(text=interval(row.score), kind="number"),
        Cell(text=behind, kind="number"),
        Cell(text=f"{seconds:.1f}" if seconds is not None else "–", kind="number"),
        *((Cell(text=str(row.seeds), kind="number"), Cell(text=row.seeds_note or "–")) if board.repeated else ()),
    )


def _ends(score: Score) -> tuple[float, float, float]:
    """Return low, value and high: in percent, or on the metric's own scale."""
    factor = _factor(score)
    low, high = (score.interval.low, score.interval.high) if score.interval else (score.value, score.value)
    return min(low, score.value) * factor, score.value * factor, max(high, score.value) * factor


def _factor(score: Score) -> float:
    return 100.0 if is_share(score) else 1.0


def _axis(board: Leaderboard, say: Say) -> str:
    """Return what a board's scores are, for an axis."""
    return say("score_axis") if board.rows and is_share(board.rows[0].score) else board.metric


def _forest(board: Leaderboard, say: Say, name: str = "forest") -> Figure:
    rows = board.rows[:SHOWN_IN_FIGURES]
    svg = figures.forest(
        name, [r.candidate.name for r in rows], [_ends(r.score) for r in rows], [r.candidate.kind.value for r in rows],
        _axis(board, say),
    )  # fmt: skip
    lines = [f"{r.candidate.id},{r.score.value:.6f},{_low_high(r.score)},{r.tie_group},{r.seeds}" for r in board.rows]
    data = "\n".join(("candidate,score,low,high,tie_group,seeds", *lines)) + "\n"
    return Figure(name=name, caption=say("forest_caption"), svg=svg, alt=say("forest_caption"), data=data)


def _low_high(score: Score) -> str:
    return f"{score.interval.low:.6f},{score.interval.high:.6f}" if score.interval else ","


def _pareto(report: ReportInput, board: Leaderboard, say: Say) -> Iterator[Figure]:
    rows = [(r, s) for r in board.rows if (s := report.seconds(r, board.role)) is not None]
    if len(rows) < 3:
        return
    dots = [(s, r.score.value * _factor(r.score), r.candidate.kind.value, r.candidate.name) for r, s in rows]
    legend = {k: say(k) for k in ("baseline", "method", "reproduction", "trial")}
    svg = figures.pareto(dots, (say("seconds_axis"), _axis(board, say)), legend)
    lines = [f"{r.candidate.id},{s:.3f},{r.score.value:.6f}" for r, s in rows]
    data = "\n".join(("candidate,seconds,score", *lines)) + "\n"
    yield Figure(name="pareto", caption=say("pareto_caption"), svg=svg, alt=say("pareto_caption"), data=data)


def _skills(board: Leaderboard, say: Say) -> Iterator[Figure]:
    skills = list(dict.fromkeys(name for r in board.rows for name in r.skills))
    rows = _distinct(board.rows)
    if len(skills) < 2 or not rows:
        return
    series = {r.candidate.name: [_ends(r.skills[s]) for s in skills] for r in rows}
    svg = figures.grouped_bars(skills, series, say("score_axis"))
    lines = [f"{r.candidate.id},{s},{r.skills[s].value:.6f},{_low_high(r.skills[s])}" for r in rows for s in skills]
    data = "\n".join(("candidate,skill,score,low,high", *lines)) + "\n"
    yield Figure(name="skills", caption=say("skills_caption"), svg=svg, alt=say("skills_caption"), data=data)


def _distinct(rows: Sequence[Ranked]) -> list[Ranked]:
    """Return the leader, the best methods and the best baselines: five at most, in the board's order."""
    leading = [r for r in rows if r.candidate.kind != "baseline"][:2]
    baselines = [r for r in rows if r.candidate.kind == "baseline"][:3]
    chosen = {r.candidate.id for r in (*leading, *baselines)}
    return [r for r in rows if r.candidate.id in chosen]
