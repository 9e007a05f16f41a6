"""The pool in a process of its own: the same verdicts, errors that arrive, and an end that leaves nothing behind."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from core.errors import InvalidInputError, OperatorError
from core.types.evaluation import Verdict
from worker.grade.apart import ApartPool, PoolSpec
from worker.grade.limits import Limits, Options
from worker.grade.pool import Graded, GradePool, Sample
from worker.grade.problems import CodeProblem

LIMITS = Limits(per_input_s=1.0, program_s=2.0, total_s=4.0)
DOUBLE = CodeProblem(
    "Own/double", "def f(x):\n", "f", "    return x * 2\n", "def check(candidate):\n    assert candidate(1) == 2\n"
)
RIGHT, WRONG = "def f(x):\n    return x + x\n", "def f(x):\n    return x\n"
SOURCES = (RIGHT, WRONG, "def f(x)\n", "def f(x):\n    raise KeyError\n", "import os\nos._exit(0)\n", RIGHT)


def spec(tmp_path: Path) -> PoolSpec:
    return PoolSpec((DOUBLE,), "bigcode", "bubblewrap", 1, Options(limits=LIMITS, cache_dir=tmp_path, costs={}))


def samples(*sources: str) -> list[Sample]:
    return [Sample(i, "Own/double", source) for i, source in enumerate(sources)]


def verdicts(graded: Iterator[Graded]) -> dict[int, tuple[Verdict, str]]:
    return {g.index: (g.verdict, g.detail) for g in graded}


def descendants() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


def test_verdicts_are_those_of_the_pool_and_its_costs_come_back(tmp_path: Path) -> None:
    before, made = descendants(), spec(tmp_path)
    with GradePool([DOUBLE], "bigcode", workers=1, options=Options(limits=LIMITS)) as pool:
        expected = verdicts(pool.grade(samples(*SOURCES)))
    with ApartPool(made) as apart:
        found = [verdicts(apart.grade(samples(*SOURCES))) for _ in range(2)]  # it stays for the next
    assert found == [expected, expected]
    assert [expected[i][0] for i in (0, 1, 5)] == [Verdict.PASSED, Verdict.FAILED, Verdict.PASSED]
    assert made.options.costs.keys() == {"Own/double"}
    assert descendants() <= before


def test_verdicts_come_while_samples_are_being_made(tmp_path: Path) -> None:
    seen = threading.Event()

    def slowly() -> Iterator[Sample]:
        yield Sample(0, "Own/double", RIGHT)
        assert seen.wait(60), "the first verdict came only after the last sample"
        yield Sample(1, "Own/double", WRONG)

    with ApartPool(spec(tmp_path)) as apart:
        found = []
        for graded in apart.grade(slowly()):
            found.append(graded.verdict)
            seen.set()
    assert found == [Verdict.PASSED, Verdict.FAILED]


def test_errors_arrive_as_what_they_are(tmp_path: Path) -> None:
    def broken() -> Iterator[Sample]:
        yield Sample(0, "Own/double", RIGHT)
        raise RuntimeError("no more tokens")

    with ApartPool(spec(tmp_path)) as apart, pytest.raises(RuntimeError, match="no more tokens"):
        list(apart.grade(broken()))
    with ApartPool(spec(tmp_path)) as apart, pytest.raises(InvalidInputError, match="not in the benchmark"):
        list(apart.grade([Sample(0, "Other/1", RIGHT)]))
    container = PoolSpec((DOUBLE,), "bigcode", "container", 1, Options(image=None))
    with pytest.raises(OperatorError):
        ApartPool(container).start()


def test_a_process_that_dies_is_an_error_and_not_a_wait(tmp_path: Path) -> None:
    with ApartPool(spec(tmp_path)) as apart:
        stream = apart.grade(iter(samples(RIGHT, "def f(x):\n    while True: pass\n")))
        next(stream)
        (process,) = [c for c in psutil.Process().children() if "worker.grade.apart" in " ".join(c.cmdline())]
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(OperatorError, match="ended by itself"):
            list(stream)


def test_a_caller_that_leaves_ends_it(tmp_path: Path) -> None:
    before, started = descendants(), time.monotonic()

    def endless() -> Iterator[Sample]:
        while True:
            yield Sample(0, "Own/double", RIGHT)

    with ApartPool(spec(tmp_path)) as apart:
        assert next(apart.grade(endless())).verdict is Verdict.PASSED
    assert time.monotonic() - started < 60
    assert descendants() <= before
    assert not [thread for thread in threading.enumerate() if thread.name == "grade-sender"]
