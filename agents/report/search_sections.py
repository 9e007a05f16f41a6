"""The sections about the search, the recipe, the cost, what to try next, and how to read the numbers."""

from collections.abc import Iterator, Mapping

from agents.report import figures
from agents.report.blocks import Block, Bullets, Cell, Code, Figure, Paragraph, Section, Table
from agents.report.content import SHARES, ReportInput, duration, percent, short_id, shown
from agents.report.next_steps import next_steps
from agents.report.wording import Say
from core.merging_table import DECLARATIONS
from core.types.candidate import Applicability, Fidelity
from core.types.evaluation import Score
from core.types.optimization import OptimizationResult, TrialRecord

BEST_TRIALS, CITED = 8, 3


def search_section(report: ReportInput, say: Say) -> Section | None:
    """Return what the optimizer did; None where there was no such stage."""
    found = report.optimization
    if found is None:
        return None
    blocks: list[Block] = []
    if found.trials:
        blocks.append(Paragraph(text=_search_text(found, say)))
        blocks.append(_history(report, found, say))
        blocks.append(_trials_table(found, say))
        blocks += _importance(found, say)
    if found.note:
        blocks.append(Paragraph(text=found.note, quiet=True))
    return Section(id="search", title=say("search"), blocks=tuple(blocks))


def _search_text(found: OptimizationResult, say: Say) -> str:
    states = [t.state for t in found.trials]
    if found.metric not in SHARES:
        return say(
            "command_search_text", count=len(states), strategy=found.strategy, metric=found.metric,
            failed=states.count("failed"), start=_read(found, found.start_value), best=_read(found, found.best_value),
        )  # fmt: skip
    raced = [t for t in found.trials if t.state in {"complete", "dropped"}]
    in_full = max(1, len(raced) * found.items)
    text = say(
        "search_text", count=len(states), strategy=found.strategy, complete=states.count("complete"), items=found.items,
        dropped=states.count("dropped"), failed=states.count("failed"),
        saved=percent(1 - sum(t.item_evaluations for t in raced) / in_full, 0),
    )  # fmt: skip
    if found.start_value is not None and found.best_value is not None:
        text += " " + say("search_gain", start=percent(found.start_value), best=percent(found.best_value))
    if found.optimism is not None:
        text += " " + say("optimism", value=f"{max(0.0, found.optimism) * 100:.1f}")
    if found.refused:
        text += " " + say("refused", counts=say.listed([f"{k}: {v}" for k, v in sorted(found.refused.items())]))
    return text


def _history(report: ReportInput, found: OptimizationResult, say: Say) -> Figure:
    factor = 100.0 if found.metric in SHARES else 1.0
    trials = [(t.number, t.value * factor, t.state) for t in found.trials if t.value is not None]
    best = [(t.number, t.best * factor) for t in found.trials if t.best is not None]
    lines = {say("start"): found.start_value * factor} if found.start_value is not None else {}
    axis = say("score_axis") if found.metric in SHARES else found.metric
    words = {
        "best": say("best_so_far"), "complete": say("complete"), "dropped": say("dropped"),
        "repeated": say("repeated"), "trial": say("trial"), "score": axis,
    }  # fmt: skip
    svg = figures.history(trials, best, lines, words)
    rows = [
        f"{t.number},{t.candidate_id},{t.state},{_number(t.value)},{_number(t.best)},{t.item_evaluations}"
        for t in found.trials
    ]
    data = "\n".join(("trial,candidate,state,value,best,item_evaluations", *rows)) + "\n"
    return Figure(name="history", caption=say("history_caption"), svg=svg, alt=say("history_caption"), data=data)


def _read(found: OptimizationResult, value: float | None) -> str:
    return "–" if value is None else shown(Score(metric=found.metric, value=value, items=found.items))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def shown_trials(found: OptimizationResult) -> list[TrialRecord]:
    """Return the trials that a report lists, best first."""
    complete = [t for t in found.trials if t.state == "complete"]
    return sorted(complete, key=lambda t: (-(t.value or 0.0), t.number))[:BEST_TRIALS]


def cited_of(trial: TrialRecord) -> tuple[str, ...]:
    """Return the evaluations that stand for a trial's number: those of its first block of items."""
    return trial.evaluation_ids[:CITED]


def _trials_table(found: OptimizationResult, say: Say) -> Table:
    rows = [
        (
            Cell(text=str(t.number), kind="number"),
            Cell(text=t.source.replace("warm start", say("warm_start"))),
            Cell(text=t.method, kind="code"),
            Cell(text=_parameters(t)),
            Cell(text=_read(found, t.value), kind="number", refs=tuple(short_id(e) for e in cited_of(t))),
        )
        for t in shown_trials(found)
    ]
    columns = ("trial_column", "source", "method_column", "parameters", "score")
    return Table(columns=tuple(say(c) for c in columns), rows=tuple(rows), caption=say("trials_caption"), wide=True)


def _parameters(trial: TrialRecord) -> str:
    used = {"density": "density" in _defaults(trial.method), "scale": _defaults(trial.method).get("normalize") is True}
    varied = [(name, value) for name, value in sorted(trial.parameters.items()) if used.get(name, True)]
    return ", ".join(f"{name.removeprefix('weight.')} {value:.2f}" for name, value in varied)


def _defaults(method: str) -> Mapping[str, object]:
    return DECLARATIONS[method].defaults if method in DECLARATIONS else {}


_FIDELITIES = (Fidelity.EXACT, Fidelity.ADAPTED, Fidelity.NOT_APPLICABLE, Fidelity.NOT_BUILT_IN)


def _importance(found: OptimizationResult, say: Say) -> Iterator[Figure]:
    shares = sorted(found.importance.items(), key=lambda pair: -pair[1])
    if len(shares) < 2:
        return
    labels = [name.removeprefix("weight.") for name, _ in shares]
    svg = figures.bars("importance", labels, [s * 100 for _, s in shares], say("importance_axis"))
    data = "\n".join(("parameter,share", *(f"{name},{share:.6f}" for name, share in shares))) + "\n"
    yield Figure(
        name="importance", caption=say("importance_caption"), svg=svg, alt=say("importance_caption"), data=data
    )


def recipe_section(report: ReportInput, say: Say) -> Section | None:
    """Return the winner's recipe as mergekit YAML; None where the winner is no recipe."""
    winner = report.winner
    recipe = report.recipe or (winner.candidate.recipe if winner else None)
    if winner is None or recipe is None:
        return None
    code = Code(language="yaml", text=recipe.to_yaml(), caption=say("recipe_caption", name=winner.candidate.name))
    return Section(id="recipe", title=say("recipe"), blocks=(code, *_published(report, say)))


def methods_section(report: ReportInput, say: Say) -> Section | None:
    """Return every method of ours with how it ran, what differs from its paper, or why it did not run."""
    rows = {a.method: a for a in reversed(report.applicabilities) if a.method}
    if not rows:
        return None
    order = sorted(rows.values(), key=lambda a: (_FIDELITIES.index(a.fidelity), a.method or ""))
    cells = tuple(_method_row(report, row, say) for row in order)
    columns = tuple(say(c) for c in ("method_column", "applied", "why", "our_score"))
    table = Table(columns=columns, rows=cells, caption=say("methods_caption"), wide=True)
    return Section(id="methods", title=say("methods"), blocks=(table,))


def _method_row(report: ReportInput, row: Applicability, say: Say) -> tuple[Cell, ...]:
    board = report.leaderboards.get("screen")
    ranked = next((r for r in board.rows if r.candidate.id == row.method), None) if board else None
    title = DECLARATIONS[row.method].title if row.method in DECLARATIONS else str(row.method)
    return (
        Cell(text=title),
        Cell(text=say(row.fidelity.value)),
        Cell(text=row.reason or "–"),
        Cell(
            text=percent(ranked.score.value) if ranked else "–",
            refs=report.refs(ranked.candidate.id, "screen") if ranked else (),
            kind="number",
        ),
    )


def _published(report: ReportInput, say: Say) -> Iterator[Paragraph]:
    found = report.publication
    if found is None:
        return
    if found.problems:
        yield Paragraph(text=say("not_exported", reasons="; ".join(found.problems)))
        return
    more = say("uploaded", address=found.address) if found.address else found.note
    yield Paragraph(text=say("exported", count=len(found.files), checksum=found.checksum, more=more).strip())


def cost_section(report: ReportInput, say: Say) -> Section:
    """Return what was used, beside the limits."""
    spent, budget = report.spent, report.sow.budget
    pairs = [
        (say("wall"), duration(spent.wall_clock_s), budget.wall_clock_minutes and f"{budget.wall_clock_minutes:g} min"),
        (say("gpu"), duration(spent.gpu_s), budget.gpu_minutes and f"{budget.gpu_minutes:g} min"),
        (say("trials"), str(spent.trials), None if budget.trials is None else str(budget.trials)),
        (say("usd"), f"{spent.llm_usd:.2f}", None if budget.llm_usd is None else f"{budget.llm_usd:g}"),
        (say("tokens"), f"{spent.llm_tokens:,}", None),
    ]
    rows = tuple(
        (Cell(text=name), Cell(text=used, kind="number"), Cell(text=str(limit or "–"), kind="number"))
        for name, used, limit in pairs
    )
    table = Table(columns=(say("quantity"), say("used"), say("limit")), rows=rows)
    return Section(id="cost", title=say("cost"), blocks=(table,))


def next_section(report: ReportInput, say: Say) -> Section:
    """Return what the data suggests to try next."""
    return Section(id="next", title=say("next"), blocks=(Bullets(items=tuple(next_steps(report, say))),))


def reading_section(say: Say) -> Section:
    """Return how the numbers were made."""
    items = tuple(say(f"reading_{n}") for n in range(1, 5))
    return Section(id="reading", title=say("reading"), blocks=(Bullets(items=items),))


def environment_section(report: ReportInput, say: Say) -> Section | None:
    """Return the versions and hardware; None where nothing was recorded."""
    if not report.environment:
        return None
    rows = tuple((Cell(text=k), Cell(text=v, kind="code")) for k, v in sorted(report.environment.items()))
    table = Table(columns=(say("name"), say("value")), rows=rows)
    return Section(id="environment", title=say("environment"), blocks=(table,))
