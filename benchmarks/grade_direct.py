"""Check that the `bigcode` mode of our grader gives what running program, `test` and `check(entry_point)` gives.

    python -m benchmarks.grade_direct --data DIR

The samples of bench_grade (canonical solutions, mutants, a small model's) under HumanEval+'s tests in the original
format, each also run directly: in a forked process, with the same CPU limit, as the reference harness does. Prints the
samples that differ and one JSON line. The direct runs are not sandboxed beyond their limits.
"""

import argparse
import json
import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np  # noqa: F401 - the tests import it: once here, not in every process

from benchmarks.grade_samples import distinct_samples, file_samples
from core.types.evaluation import Verdict
from worker.grade.limits import Limits, Options
from worker.grade.pool import GradePool, Sample
from worker.grade.problems import CodeProblem, load_problems

ROOT = Path(__file__).resolve().parent.parent
FILE = "HumanEvalPlus-OriginFmt.jsonl.gz"


def direct(problem: CodeProblem, source: str) -> bool:
    """Run a program with its test in a process of its own; tell whether it ends well."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            null = os.open(os.devnull, os.O_RDWR)
            for fd in range(3):
                os.dup2(null, fd)
            resource.setrlimit(resource.RLIMIT_CPU, (int(Limits().program_s),) * 2)
            resource.setrlimit(resource.RLIMIT_DATA, (Limits().memory_bytes,) * 2)
            exec(f"{source}\n{problem.test}\ncheck({problem.entry_point})\n", {})
            status = 0
        except BaseException:  # noqa: BLE001
            status = 1
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def verdicts(problems: dict[str, CodeProblem], samples: Sequence[Sample]) -> dict[int, tuple[bool, str]]:
    """Return, by index, whether each sample passes with our grader, and its verdict in words."""
    with GradePool(problems, "bigcode", options=Options(cache_dir=ROOT / ".state" / "references")) as pool:
        return {g.index: (g.verdict is Verdict.PASSED, f"{g.verdict} {g.detail}") for g in pool.grade(samples)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--sampled", type=Path, default=ROOT / "benchmarks" / "data" / "sampled-humaneval.jsonl.gz")
    parser.add_argument("--each", type=int, default=4, help="canonical solutions and mutants a problem")
    options = parser.parse_args()
    problems = load_problems(options.data / FILE)
    made = distinct_samples(problems, options.each) + file_samples(options.sampled, problems)
    distinct = dict.fromkeys((sample.task_id, sample.source) for sample in made)
    samples = [Sample(index, task_id, source) for index, (task_id, source) in enumerate(distinct)]
    ours = verdicts(problems, samples)
    differ = passed = 0
    for sample in samples:
        theirs = direct(problems[sample.task_id], sample.source)
        passed += theirs
        if theirs != ours[sample.index][0]:
            differ += 1
            row = {"task_id": sample.task_id, "direct": theirs, "ours": ours[sample.index][1], "source": sample.source}
            print(json.dumps(row), file=sys.stderr)
    agreement = round(1 - differ / len(samples), 5)
    print(json.dumps({"bench": "grade-direct", "samples": len(samples), "passed": passed, "agreement": agreement}))


if __name__ == "__main__":
    main()
