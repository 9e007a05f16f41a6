"""Grade every canonical solution again and again on a loaded machine; every one must pass every time.

    python -m benchmarks.soak_grade --data DIR --runs 20 --load 2

`--load` processes spin beside the grader. Prints one JSON line; exits 1 if a canonical solution ever failed.
"""

import argparse
import contextlib
import json
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from core.types.evaluation import Verdict
from worker.grade.limits import Options
from worker.grade.pool import GradePool, Sample
from worker.grade.problems import load_problems
from worker.grade.reference import Mode

ROOT = Path(__file__).resolve().parent.parent
PASSES: tuple[tuple[str, Mode], ...] = (
    ("HumanEvalPlus.jsonl.gz", "evalplus"),
    ("HumanEvalPlus.jsonl.gz", "bigcode"),
    ("HumanEvalPlus-OriginFmt.jsonl.gz", "bigcode"),
    ("MbppPlus.jsonl.gz", "evalplus"),
)
# This test unpacks the candidate's float: run directly, it fails every solution.
BROKEN = {("HumanEvalPlus-OriginFmt.jsonl.gz", "HumanEval/32")}


def _spin() -> None:
    while True:
        pass


@contextlib.contextmanager
def loaded(processes: int) -> Iterator[None]:
    """Keep the processor busy with other work."""
    spinning = [multiprocessing.get_context("spawn").Process(target=_spin, daemon=True) for _ in range(processes)]
    for process in spinning:
        process.start()
    try:
        yield
    finally:
        for process in spinning:
            process.kill()


def failures(data: Path, runs: int, passes: Sequence[tuple[str, Mode]]) -> list[str]:
    """Return what failed, with its reason, over all runs."""
    found = []
    for name, mode in passes:
        problems = load_problems(data / name)
        with GradePool(problems, mode, options=Options(cache_dir=ROOT / ".state" / "references")) as pool:
            for run in range(runs):
                started = time.perf_counter()
                names = list(problems)
                samples = (Sample(i, k, f"{problems[k].reference}\n# {run}\n") for i, k in enumerate(names))
                bad = [g for g in pool.grade(samples) if g.verdict is not Verdict.PASSED]
                bad = [g for g in bad if (name, names[g.index]) not in BROKEN]
                found += [f"{mode} {names[g.index]} run {run}: {g.verdict} {g.detail}" for g in bad]
                seconds = time.perf_counter() - started
                print(f"{name} {mode} run {run}: {len(bad)} failed, {seconds:.1f} s", file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--load", type=int, default=2)
    parser.add_argument("--only", type=int, nargs="*", choices=range(len(PASSES)), help="numbers of files and modes")
    options = parser.parse_args()
    passes = PASSES if options.only is None else [PASSES[number] for number in options.only]
    with loaded(options.load):
        found = failures(options.data, options.runs, passes)
    said = [f"{mode} {name}" for name, mode in passes]
    print(json.dumps({"soak": "grade", "runs": options.runs, "load": options.load, "passes": said, "failures": found}))
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
