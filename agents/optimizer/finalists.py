"""Who goes to confirmation: the trials with the best values once the luck of the draw is taken out."""

from collections.abc import Sequence

import numpy as np

from agents.optimizer.gaussian_process import Trials, smoothed
from agents.optimizer.job_evaluator import JobEvaluator
from agents.optimizer.search import Search
from agents.optimizer.space import Point, Space
from core.statistics.winner import corrected_winner
from core.types.candidate import Candidate, CandidateKind
from core.types.optimization import TrialRecord

FINAL_PREFIX = "final-"
SMOOTHED_FROM = 8


def finalists(
    search: Search, evaluator: JobEvaluator, leader: Candidate, trials: Sequence[TrialRecord]
) -> tuple[Candidate, ...]:
    """Return the best fully measured candidates, the leader among them where it belongs there."""
    complete = [t for t in named_best(trials, evaluator.space) if t.state == "complete"]
    start = search.pool.mean(search.start)
    better = [t for t in complete if (t.value or 0.0) > start]
    chosen = [_final(evaluator, t) for t in better[: evaluator.sow.optimization.finalists]]
    return (*chosen, leader) if len(chosen) < evaluator.sow.optimization.finalists else tuple(chosen)


def named_best(trials: Sequence[TrialRecord], space: Space) -> list[TrialRecord]:
    """Return the trials with a value, best first by the value that the process over all trials gives them.

    The raw best of many is mostly lucky; neighbors tell how lucky. With few trials the raw values decide.
    """
    found = list({t.candidate_id: t for t in trials if t.value is not None and t.state != "repeated"}.values())
    values = np.array([t.value for t in found], dtype=np.float64)
    if len(found) >= SMOOTHED_FROM:
        seen = np.array([[t.parameters[d.name] for d in space.dimensions] for t in found])
        low, high = (np.array([getattr(d, end) for d in space.dimensions]) for end in ("low", "high"))
        methods = np.array([[float(t.method == m) for m in space.methods] for t in found])
        unit = np.hstack([(seen - low) / (high - low), methods])
        choices = tuple(range(seen.shape[1], unit.shape[1]))
        near = smoothed(Trials(unit, values, np.array([t.deviation for t in found]), choices))
        values = np.where(np.isfinite(near), near, values - 1.0)
    return [found[i] for i in np.argsort(-values, kind="stable")]


def _final(evaluator: JobEvaluator, trial: TrialRecord) -> Candidate:
    """Return a trial as a finalist. It gets an id of its own: trials may never see other than search slices."""
    point = Point(method=trial.method, values=trial.parameters)
    candidate = evaluator.candidate(point, trial.source)
    digest = candidate.recipe.digest if candidate.recipe else ""
    return candidate.evolve(
        id=f"{FINAL_PREFIX}{digest}", stage="confirm", kind=CandidateKind.TRIAL,
        name=f"{trial.method}, trial {trial.number}", note=f"trial {trial.number} ({trial.source})",
    )  # fmt: skip


def optimism(search: Search) -> float | None:
    """Return how much too good the best looks for having been chosen among all fully measured candidates."""
    candidates = [search.start, *search.full.values()]
    if len(candidates) < 2 or len(search.pool.keys) < 2:
        return None
    table = np.array([[scores[key] for key in search.pool.keys] for scores in candidates])
    weights = np.array([search.pool.factors[key[0]] for key in search.pool.keys])
    return corrected_winner(table, weights=weights).optimism
