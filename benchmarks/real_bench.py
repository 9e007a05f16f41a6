"""What the processes of the real bench keep and what it adds up to: the notebook, the budgeted arms, the gains.

A notebook holds every evaluation and every answer of one process, a JSON line each, written at once. Gains are paired
by confirm item; their intervals resample items within each skill and, independently, seeds (Owen 2007, the pigeonhole
bootstrap), so that five lucky seeds are not taken for many.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.optimizer.racing import Key
from benchmarks.optimize_arms import ARMS, Bench, RealEvaluator, Step
from core.types.recipe import Recipe
from core.types.sow import Models

SCREENING = "screened"
DRAWS = 4000
Table = Mapping[str, Sequence[float]]


class OutOfTimeError(Exception):
    """The time given has passed; what was measured is kept."""


@dataclass
class Notebook:
    """A file of JSON lines: every evaluation and every answer of one process. A torn last line is forgotten."""

    path: Path
    lines: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def open(cls, path: Path) -> "Notebook":
        """Read what an earlier process left."""
        text = path.read_text() if path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            path.write_text(whole)
        return cls(path, [json.loads(line) for line in whole.splitlines()])

    def add(self, line: dict[str, Any]) -> None:
        """Write a line at once."""
        self.lines.append(line)
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


class Remembered:
    """An evaluator that looks into its notebook first, and stops when the time is up."""

    def __init__(self, evaluator: RealEvaluator, notebook: Notebook, deadline: float) -> None:
        self.models: Models = evaluator.models
        self._evaluator, self._notebook, self.deadline = evaluator, notebook, deadline
        self._known = {(x["recipe"], x["role"]): x["passed"] for x in notebook.lines if "passed" in x}

    def items(self, role: str) -> Mapping[str, Any]:
        """Return item ids by benchmark."""
        return self._evaluator.items(role)

    def evaluate(self, recipe: Recipe, role: str) -> Mapping[Key, float]:
        """Return scores, computed once a recipe; scores of one greedy sample an item are 0 or 1."""
        keys = [(name, item) for name, ids in self.items(role).items() for item in ids]
        known = self._known.get((recipe.digest, role))
        if known is None:
            if time.time() > self.deadline:
                raise OutOfTimeError
            found = self._evaluator.evaluate(recipe, role)
            known = "".join("1" if found[key] else "0" for key in keys)
            self._known[recipe.digest, role] = known
            self._notebook.add({"recipe": recipe.digest, "role": role, "passed": known})
        return {key: float(mark) for key, mark in zip(keys, known, strict=True)}


def work(evaluator: Remembered, notebook: Notebook, arms: tuple[str, ...], plan: tuple[int, tuple[int, ...]]) -> None:
    """Take the arms, side by side, from one budget to the next, and note what each names there and what that scores."""
    seed, budgets = plan
    bench = Bench(evaluator)
    done = {(x["arm"], x["budget"]) for x in notebook.lines if "arm" in x}
    streams = {name: ARMS[name](bench, seed) for name in arms}
    ahead: dict[str, list[Step]] = {name: [] for name in arms}
    for budget in budgets:
        for name in arms:
            step = _reach(streams[name], ahead[name], budget * len(bench.pool.keys))
            if step is None or (name, budget) in done:
                continue
            deadline, evaluator.deadline = evaluator.deadline, float("inf")
            scores = evaluator.evaluate(step.best, "confirm")
            evaluator.deadline = deadline
            line = {
                "arm": name, "seed": seed, "budget": budget, "recipe": step.best.digest, "spent": step.spent,
                "search": round(bench.score(step.best), 4), "confirm": round(_mean(scores), 4),
                "config": step.best.config,
            }  # fmt: skip
            notebook.add(line)
            print({k: v for k, v in line.items() if k != "config"}, flush=True)


def _reach(stream: Iterator[Step], ahead: list[Step], limit: int) -> Step | None:
    """Return the last step within a limit of item evaluations; steps beyond it wait in `ahead`."""
    while not ahead or ahead[-1].spent <= limit:
        step = next(stream, None)
        if step is None:
            break
        ahead.append(step)
    within = [s for s in ahead if s.spent <= limit]
    ahead[:] = [*within[-1:], *(s for s in ahead if s.spent > limit)]
    return within[-1] if within else None


def _mean(scores: Mapping[Key, float]) -> float:
    names = {name for name, _ in scores}
    return float(np.mean([np.mean([s for (n, _), s in scores.items() if n == name]) for name in names]))


def result(out: Path, items: Mapping[str, Any], plan: tuple[int, tuple[int, ...]]) -> dict[str, Any]:
    """Return gains on confirm items at every budget that some seeds reached with all arms; the last decides."""
    tables = _tables(out, items)
    curve = []
    for budget in plan[1]:
        seeds = [s for s in range(plan[0]) if all((a, s, budget) in tables for a in ("ours", "cmaes", "random"))]
        if seeds and (SCREENING, 0, budget) in tables:
            curve.append(_at(tables, seeds, budget))
    if not curve:
        return {"curve": [], "note": "no budget was reached by all arms of any seed"}
    last = curve[-1]
    gains = last["gains"]
    return {
        "gain_over_best_screened": gains[SCREENING]["gain"], "interval": gains[SCREENING]["interval"],
        "gain_over_random": gains["random"]["gain"], "gain_over_cmaes": gains["cmaes"]["gain"],
        "interval_random": gains["random"]["interval"], "interval_cmaes": gains["cmaes"]["interval"],
        "budget": last["budget"], "budget_planned": plan[1][-1], "seeds": last["seeds"], "curve": curve,
    }  # fmt: skip


def _tables(out: Path, items: Mapping[str, Any]) -> dict[tuple[str, int, int], dict[str, list[float]]]:
    """Return, by arm, seed and budget, the confirm scores by skill of what it named."""
    cuts = np.cumsum([len(ids) for ids in items.values()])[:-1]
    found = {}
    for path in sorted(out.glob("*.jsonl")):
        lines = Notebook.open(path).lines
        passed = {x["recipe"]: x["passed"] for x in lines if x.get("role") == "confirm"}
        for line in lines:
            if "arm" in line:
                marks = np.array([float(mark) for mark in passed[line["recipe"]]])
                parts = {name: part.tolist() for name, part in zip(items, np.split(marks, cuts), strict=True)}
                found[line["arm"], line["seed"], line["budget"]] = parts
    return found


def _at(tables: Mapping[tuple[str, int, int], dict[str, list[float]]], seeds: list[int], budget: int) -> dict[str, Any]:
    by_arm = {
        arm: [tables[arm, 0 if arm == SCREENING else s, budget] for s in seeds] for arm in ARMS
    }  # fmt: skip
    means = {arm: [float(np.mean([np.mean(v) for v in t.values()])) for t in rows] for arm, rows in by_arm.items()}
    return {
        "budget": budget, "seeds": len(seeds),
        "confirm": {arm: round(float(np.mean(values)), 4) for arm, values in means.items()},
        "confirm_by_seed": {arm: [round(v, 4) for v in values] for arm, values in means.items()},
        "gains": {arm: paired_gain(by_arm["ours"], by_arm[arm]) for arm in ARMS if arm != "ours"},
    }  # fmt: skip


def paired_gain(first: Sequence[Table], second: Sequence[Table], draws: int = DRAWS, seed: int = 0) -> dict[str, Any]:
    """Return first − second, averaged over seeds and skills, with its 95 % interval.

    Each argument has one table a seed: the scores of the same items by skill.
    """
    generator = np.random.default_rng(seed)
    parts = [_differences(first, second, name) for name in first[0]]
    seeds = generator.integers(len(first), size=(draws, len(first)))
    total = np.zeros(draws)
    for part in parts:
        items = generator.integers(part.shape[1], size=(draws, part.shape[1]))
        chosen = np.stack([np.bincount(s, minlength=part.shape[0]) for s in seeds]) / part.shape[0]
        weights = np.stack([np.bincount(i, minlength=part.shape[1]) for i in items]) / part.shape[1]
        total += np.einsum("ds,si,di->d", chosen, part, weights)
    low, high = np.quantile(total / len(parts), [0.025, 0.975])
    gain = float(np.mean([part.mean() for part in parts]))
    return {"gain": round(gain, 4), "interval": [round(float(low), 4), round(float(high), 4)]}


def _differences(first: Sequence[Table], second: Sequence[Table], name: str) -> NDArray[np.float64]:
    """Return a skill's differences, seeds × items."""
    return np.array([a[name] for a in first]) - np.array([b[name] for b in second])
