"""Compare our grader with EvalPlus 0.3.1 on the same samples, cores and run.

    python -m benchmarks.bench_grade --data DIR [--sampled FILE]

Two files: 1,640 HumanEval+ samples that all differ (half canonical, half mutants), and samples of a small model with
their duplicates. Expected outputs are prepared before the clock starts, for both. The floor is the CPU time of the code
under test, measured in a run of its own. EvalPlus runs in an environment made for it under `.state/`, because
its requirements conflict with ours. Prints progress to standard error and one JSON line at the end; samples
with different verdicts go to `.state/grade-differences.jsonl`, and are explained in `results/grade-differences.md`.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import venv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import psutil

from benchmarks.grade_samples import distinct_samples, file_samples
from core.types.evaluation import Verdict
from worker.grade.limits import Limits, Options
from worker.grade.pool import Graded, GradePool, Sample
from worker.grade.problems import CodeProblem, load_problems

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".state"
CORES = len(os.sched_getaffinity(0))
DIFFERENCES = STATE / "grade-differences.jsonl"


class PeakMemory:
    """The largest proportional memory of this process and its children while it is watched, once a second."""

    def __init__(self) -> None:
        self.megabytes = 0.0
        self._stop = threading.Event()

    def __enter__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(1.0):
            me = psutil.Process()  # EvalPlus is a child too, so only our own grading is watched
            total = 0
            for process in (me, *me.children(recursive=True)):
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            self.megabytes = max(self.megabytes, total / 2**20)


MEMORY = PeakMemory()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def grade(
    problems: dict[str, CodeProblem], samples: Sequence[Sample], *, timed: bool
) -> tuple[float, dict[int, Graded]]:
    """Return the seconds of grading, with warm sandboxes and prepared references, and the verdicts."""
    with GradePool(problems, "evalplus", options=Options(cache_dir=STATE / "references", timed=timed)) as pool:
        wrong = [Sample(i, task_id, "# nothing\n") for i, task_id in enumerate({s.task_id: None for s in samples})]
        list(pool.grade(wrong))  # prepares every reference
        started = time.perf_counter()
        graded = {g.index: g for g in pool.grade(samples)}
        return time.perf_counter() - started, graded


def evalplus_python() -> Path:
    home = STATE / "evalplus-0.3.1"
    python = home / "bin" / "python"
    if not (home / "ready").is_file():
        say("installing evalplus 0.3.1 into an environment of its own (once)")
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "evalplus==0.3.1"], check=True)
        (home / "ready").touch()
    return python


def evalplus(data: Path, samples: Sequence[Sample]) -> tuple[float, dict[int, tuple[str, str]]]:
    """Return EvalPlus's seconds on the same samples with the same limits, and its verdicts."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        (home / "problems.jsonl").write_bytes(gzip.decompress((data / "HumanEvalPlus.jsonl.gz").read_bytes()))
        lines = [json.dumps({"task_id": s.task_id, "solution": s.source}) + "\n" for s in samples]
        (home / "samples.jsonl").write_text("".join(lines))
        environment = {**os.environ, "HUMANEVAL_OVERRIDE_PATH": str(home / "problems.jsonl"), "XDG_CACHE_HOME": name}
        script = Path(__file__).with_name("evalplus_run.py")
        line = [str(evalplus_python()), str(script), str(home / "samples.jsonl"), str(CORES), str(Limits().per_input_s)]
        with (home / "log").open("w") as log:
            done = subprocess.run(line, check=False, env=environment, stdout=log, stderr=log)
        if done.returncode:
            raise SystemExit(f"evalplus failed:\n{(home / 'log').read_text()[-2000:]}")
        report = json.loads((home / "samples.jsonl.report").read_text())
    say(f"evalplus: {report['prepare_s']:.1f} s of preparing, {report['seconds']:.1f} s of grading")
    places = defaultdict(list)
    for sample in samples:
        places[sample.task_id].append(sample.index)
    verdicts = {
        index: (base, plus)
        for task_id, found in report["verdicts"].items()
        for index, (base, plus) in zip(places[task_id], found, strict=True)
    }
    return report["seconds"], verdicts


def compare(name: str, data: Path, problems: dict[str, CodeProblem], samples: list[Sample]) -> dict[str, float]:
    say(f"{name}: {len(samples)} samples, {len({(s.task_id, s.source) for s in samples})} distinct, {CORES} cores")
    with MEMORY:
        ours_s, ours = grade(problems, samples, timed=False)
    say(f"ours: {ours_s:.1f} s")
    _, timed = grade(problems, samples, timed=True)
    floor_s = sum(g.code_s or g.cpu_s for g in timed.values()) / CORES
    theirs_s, theirs = evalplus(data, samples)
    differ = [s for s in samples if (ours[s.index].verdict is Verdict.PASSED) != (theirs[s.index] == ("pass", "pass"))]
    with DIFFERENCES.open("a") as file:
        for s in differ:
            row = {"bench": name, "task_id": s.task_id, "ours": [ours[s.index].verdict, ours[s.index].detail]}
            file.write(json.dumps({**row, "evalplus": theirs[s.index], "source": s.source}) + "\n")
    passed = sum(g.verdict is Verdict.PASSED for g in ours.values())
    say(f"{passed} passed with ours, {sum(v == ('pass', 'pass') for v in theirs.values())} with evalplus")
    return {
        "ours_s": round(ours_s, 2),
        "evalplus_s": round(theirs_s, 2),
        "floor_s": round(floor_s, 2),
        "ratio": round(theirs_s / ours_s, 2),
        "agreement": round(1 - len(differ) / len(samples), 5),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--sampled", type=Path, default=ROOT / "benchmarks" / "data" / "sampled-humaneval.jsonl.gz")
    parser.add_argument("--only", choices=["distinct", "sampled"])
    parser.add_argument("--each", type=int, default=10, help="distinct samples a problem (10: 1,640 samples)")
    options = parser.parse_args()
    problems = load_problems(options.data / "HumanEvalPlus.jsonl.gz")
    DIFFERENCES.unlink(missing_ok=True)
    result: dict[str, object] = {"bench": "grade", "distinct": None, "sampled": None}
    if options.only != "sampled":
        result["distinct"] = compare("distinct", options.data, problems, distinct_samples(problems, options.each))
    if options.only != "distinct" and options.sampled.is_file():
        samples = file_samples(options.sampled, problems)
        result["sampled"] = compare("sampled", options.data, problems, samples)
    print(json.dumps({**result, "peak_mb": round(MEMORY.megabytes)}))


if __name__ == "__main__":
    main()
