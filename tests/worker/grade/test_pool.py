"""The pool: streaming, duplicates, modes, tiers, the cache, and equality with a direct run of the test."""

import contextlib
import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import InvalidInputError, MissingDependencyError, OperatorError
from core.types.evaluation import Verdict
from worker.grade.limits import Limits, Options
from worker.grade.pool import Graded, GradePool, Sample
from worker.grade.problems import CodeProblem
from worker.grade.tiers import available_tiers, find_bubblewrap

LIMITS = Limits(per_input_s=1.0, program_s=2.0, total_s=4.0)


def problem(name: str, body: str, test: str = "", **inputs: tuple) -> CodeProblem:
    return CodeProblem(f"Own/{name}", "import math\ndef f(*a):\n", "f", f"    {body}\n", test or None, **inputs)


def check(*lines: str) -> str:
    return "def check(candidate):\n" + "".join(f"    {line}\n" for line in lines)


PROBLEMS = {
    p.task_id: p
    for p in (
        problem("double", "return a[0] * 2", check("assert candidate(1) == 2", "assert candidate('a') == 'aa'")),
        problem("half", "return a[0] / 2", check("assert abs(candidate(3) - 1.5) < 1e-3")),
        problem("chain", "return a[0] + 1", check("assert candidate(candidate(candidate(1))) == 4")),
        problem(
            "random",
            "return sorted(a[0])",
            check("import random", "for _ in range(20):", "    x = [random.random() for _ in range(9)]",
                  "    assert candidate(list(x)) == sorted(x)"),
        ),
        problem("raises", "raise ValueError", check("try:", "    candidate(1)", "except ValueError:", "    pass")),
        problem("broken", "return 1", check("assert candidate(1) == 2")),
        problem("keywords", "return None", check("assert candidate(1) is None", "assert candidate(1) is None")),
        problem("long", "return list(range(a[0]))", check("assert candidate(20000) == list(range(20000))")),
        problem("global", "return a[0]", "import math\n" + check("assert candidate(math.pi) == math.pi")),
    )
}  # fmt: skip
BODIES = [
    "return a[0] * 2", "return a[0] + a[0]", "return a[0] / 2", "return a[0] * 0.5001", "return a[0] + 1", "return a[0] - 1",  # noqa: E501
    "return sorted(a[0])", "return list(a[0])", "return None", "return 1", "return 2", "return [[]]", "return a[0]",
    "return a[0] if a[0] == 1 else 5", "import numpy; return numpy.sort(a[0])", "return [float(x) for x in range(a[0])]",  # noqa: E501
    "return range(a[0])", "import numpy; return numpy.float64(1.5)", "return True", "raise ValueError", "return (",
    "from fractions import Fraction; return Fraction(3, 2)",
    "return list(range(a[0]))[::-1]", "return '2'", "return {}", "print(a); return a[0] * 2", "import os; os.getcwd()",
]  # fmt: skip


def direct(item: CodeProblem, source: str) -> bool:
    """Run test and check(entry_point) in this process, as the reference harness does."""
    space: dict = {}
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(f"{source}\n{item.test}\ncheck({item.entry_point})\n", space)
    except Exception:  # noqa: BLE001
        return False
    return True


@pytest.fixture(scope="module")
def tests_pool() -> Iterator[GradePool]:
    with GradePool(PROBLEMS, "bigcode", workers=2, options=Options(limits=LIMITS)) as pool:
        yield pool


@pytest.mark.parametrize("task_id", sorted(set(PROBLEMS) - {"Own/raises"}))
def test_bigcode_equals_running_the_test_directly(tests_pool: GradePool, task_id: str) -> None:
    item = PROBLEMS[task_id]
    sources = [f"{item.prompt}    {body}\n" for body in BODIES]
    graded = tests_pool.grade(Sample(i, task_id, source) for i, source in enumerate(sources))
    ours = {g.index: g.verdict is Verdict.PASSED for g in graded}
    theirs = {i: direct(item, source) for i, source in enumerate(sources)}
    assert {BODIES[i] for i in ours if ours[i]} == {BODIES[i] for i in theirs if theirs[i]}


def test_bigcode_counts_an_exception_as_an_error(tests_pool: GradePool) -> None:
    [graded] = tests_pool.grade([Sample(0, "Own/double", "def f(x):\n    return 1 / 0\n")])
    assert (graded.verdict, graded.detail) == (Verdict.ERROR, "ZeroDivisionError at call 0")


def test_details_name_the_first_failing_input() -> None:
    item = problem("sum", "return sum(a)", base_input=((1, 2), (3, 4)), plus_input=((0, 0), (5, -5)))
    sources = {
        "def f(*a):\n    return sum(a)\n": (Verdict.PASSED, "", Verdict.PASSED),
        "def f(*a):\n    return 3\n": (Verdict.FAILED, "base input 1", Verdict.FAILED),
        "def f(*a):\n    return sum(a) or None\n": (Verdict.FAILED, "plus input 0", Verdict.PASSED),
        "def f(*a):\n    return sum(a) if any(a) else 1 / 0\n": (
            Verdict.ERROR, "ZeroDivisionError at plus input 0", Verdict.PASSED,
        ),
        "def f(a):\n    return a\n": (Verdict.ERROR, "TypeError at base input 0", Verdict.ERROR),
        "def g(a):\n    return a\n": (Verdict.ERROR, "KeyError at base input 0", Verdict.ERROR),
        "def f(a)\n": (Verdict.UNPARSABLE, "SyntaxError", Verdict.UNPARSABLE),
    }  # fmt: skip
    with GradePool([item], "evalplus", workers=1, options=Options(limits=LIMITS)) as pool:
        graded = list(pool.grade(Sample(i, item.task_id, source) for i, source in enumerate(sources)))
    found = [(g.verdict, g.detail, g.base) for g in sorted(graded, key=lambda g: g.index)]
    assert found == list(sources.values())


def test_long_outputs_that_differ_are_compared_in_full() -> None:
    item = problem("long", "return [k / 3 for k in range(a[0])]", base_input=((3,), (20_000,)))
    bodies = {
        "[k * (1 / 3) for k in range(n)]": Verdict.PASSED,
        "[k / 3 + (k > 19_000) for k in range(n)]": Verdict.FAILED,
        "tuple(k / 3 for k in range(n))": Verdict.FAILED,
    }
    with GradePool([item], "evalplus", workers=1, options=Options(limits=LIMITS)) as pool:
        samples = [Sample(i, item.task_id, f"def f(n):\n    return {body}\n") for i, body in enumerate(bodies)]
        graded = {g.index: g.verdict for g in pool.grade(samples)}
    assert [graded[i] for i in range(len(bodies))] == list(bodies.values())


def test_a_pool_tells_what_each_problem_costs(tmp_path: Path) -> None:
    quick = problem("quick", "return a[0]", check("assert candidate(1) == 1"))
    slow = problem("slow", "return sum(k * k % 7 for k in range(a[0]))", check("assert candidate(2_000_000) > 1"))
    for _ in range(2):  # computed, then from the cache
        costs: dict[str, float] = {}
        options = Options(limits=LIMITS, cache_dir=tmp_path, costs=costs)
        with GradePool([quick, slow], workers=1, options=options) as pool:
            list(pool.grade([Sample(0, quick.task_id, "# none"), Sample(1, slow.task_id, "# none")]))
        assert costs.keys() == {quick.task_id, slow.task_id}
        assert max(0.02, costs[quick.task_id]) < costs[slow.task_id]
    hanging = Sample(0, quick.task_id, "def f(a):\n    while True: pass\n")
    with GradePool([quick], workers=1, options=options) as pool:
        list(pool.grade([hanging]))
    assert costs[quick.task_id] >= LIMITS.program_s


def test_identical_samples_are_graded_once(tests_pool: GradePool) -> None:
    source = "def f(x):\n    return x * 2\n# the same\n"
    graded = list(tests_pool.grade(Sample(i, "Own/double", source) for i in range(50)))
    assert {g.index for g in graded} == set(range(50))
    assert {g.verdict for g in graded} == {Verdict.PASSED}
    assert sum(g.seconds > 0 for g in graded) == 1


def test_verdicts_come_while_samples_are_being_made(tests_pool: GradePool) -> None:
    seen = threading.Event()

    def slowly() -> Iterator[Sample]:
        yield Sample(0, "Own/double", "def f(x):\n    return x * 2\n")
        assert seen.wait(30), "the first verdict came only after the last sample"
        yield Sample(1, "Own/double", "def f(x):\n    return x * 3\n")

    verdicts: list[Graded] = []
    for graded in tests_pool.grade(slowly()):
        verdicts.append(graded)
        seen.set()
    assert [g.verdict for g in verdicts] == [Verdict.PASSED, Verdict.FAILED]


def test_a_source_of_samples_that_fails_fails_the_caller(tests_pool: GradePool) -> None:
    def broken() -> Iterator[Sample]:
        yield Sample(0, "Own/double", "def f(x):\n    return x * 2\n")
        raise RuntimeError("no more tokens")

    with pytest.raises(RuntimeError, match="no more tokens"):
        list(tests_pool.grade(broken()))
    assert [g.verdict for g in tests_pool.grade([])] == []


def test_an_unknown_problem_is_refused(tests_pool: GradePool) -> None:
    with pytest.raises(InvalidInputError, match="Own/none"):
        list(tests_pool.grade([Sample(0, "Own/none", "")]))


def test_a_problem_without_what_the_mode_needs_is_refused() -> None:
    with GradePool(PROBLEMS, "evalplus", workers=1) as pool, pytest.raises(InvalidInputError, match="no inputs"):
        list(pool.grade([Sample(0, "Own/double", "")]))
    bad = problem("bad", "return 1 / 0", base_input=((1,),))
    with GradePool([bad], "evalplus", workers=1) as pool, pytest.raises(InvalidInputError, match="ZeroDivisionError"):
        list(pool.grade([Sample(0, "Own/bad", "")]))


def test_references_are_kept_in_files_and_torn_files_are_made_anew(tmp_path: Path) -> None:
    item = problem("kept", "return a[0] * 2", base_input=((1,), (2.5,)))
    right = [Sample(0, item.task_id, "def f(x):\n    return x * 2\n")]

    def grade() -> list[Verdict]:
        with GradePool([item], "evalplus", workers=1, options=Options(LIMITS, tmp_path)) as pool:
            return [g.verdict for g in pool.grade(right)]

    assert grade() == [Verdict.PASSED]
    [kept] = tmp_path.rglob("*.ref")
    made = kept.read_bytes()
    assert grade() == [Verdict.PASSED]
    kept.write_bytes(made[:-3])
    assert grade() == [Verdict.PASSED]
    assert len(kept.read_bytes()) == len(made)


def test_the_subprocess_tier_grades_too_but_only_by_name() -> None:
    with GradePool(PROBLEMS, tier="subprocess", workers=1, options=Options(limits=LIMITS)) as pool:
        samples = [Sample(i, "Own/double", f"def f(x):\n    return x * {i}\n") for i in (2, 3)]
        assert {g.index: g.verdict for g in pool.grade(samples)} == {2: Verdict.PASSED, 3: Verdict.FAILED}


def test_a_tier_that_can_not_be_used_is_an_error_and_never_replaced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_bubblewrap() == fake
    with pytest.raises(OperatorError, match="No permissions to create new namespace"):
        GradePool(PROBLEMS, workers=2).__enter__()
    assert "No permissions" in available_tiers()["bubblewrap"]
    with pytest.raises(MissingDependencyError, match="docker is not installed"):
        GradePool(PROBLEMS, tier="container", workers=1).__enter__()


def test_modes_and_tiers_are_known_names() -> None:
    with pytest.raises(InvalidInputError, match="Tiers: bubblewrap, container, subprocess"):
        GradePool(PROBLEMS, tier="none")  # type: ignore[arg-type]
    with pytest.raises(OperatorError, match="closed"):
        next(GradePool(PROBLEMS).grade([]))
    assert set(available_tiers()) == {"bubblewrap", "container", "subprocess"}
