"""The rules of comparison, against examples worked out from EvalPlus 0.3.1's behavior."""

import numpy as np
import pytest

from worker.grade import oracle
from worker.grade.problems import CodeProblem
from worker.grade.wire import Opaque


def problem(entry: str = "f", task: str = "HumanEval/1", atol: float = 0.0) -> CodeProblem:
    return CodeProblem(task, "", entry, "", atol=atol)


def right(p: CodeProblem, output: object, expected: object, arguments: tuple = (), atol: float | None = None) -> bool:
    atol = oracle.tolerances(p, [expected])[0] if atol is None else atol
    return oracle.is_right(p, arguments, output, expected, atol)


@pytest.mark.parametrize(
    ("output", "expected", "verdict"),
    [
        (1, 1, True), (1, True, True), (1, 1.0, True), ("1", 1, False), ([1, 2], (1, 2), False), (None, None, True),
        (0.5 + 5e-7, 0.5, True), (0.5 + 5e-6, 0.5, False), (1e9 + 50, 1e9, True), (1e9 + 500, 1e9, False),
        (1, 1.0000001, False), ([0.1 + 0.2], [0.3], True), ((0.1 + 0.2,), [0.3], False), ([0.3], [0.1 + 0.2, 1.0], False),  # noqa: E501
        ([0.5, "x"], [0.5, 0.5], False), ({"a": 0.1 + 0.2}, {"a": 0.3}, False), (float("nan"), 1.0, False),
        (np.float64(0.5), 0.5, True), (np.float64(0.1) + 0.2, 0.3, False), (np.array([1, 2]), [1, 2], False),
        (np.array([1]), [1], True), (Opaque("map"), [1], False), (Opaque("x"), None, False), (10**400, 1.5, False),
    ],
)  # fmt: skip
def test_equality_and_tolerance(output: object, expected: object, verdict: bool) -> None:
    assert right(problem(), output, expected) is verdict


def test_unlike_shapes_are_stretched_only_so_far() -> None:
    column, row = [[0.5]] * 20_000, [0.5] * 20_000
    assert right(problem(), [[0.5], [0.5]], [0.5, 0.5])
    assert not right(problem(), column, row)


def test_a_tolerance_holds_from_the_first_float_of_a_list_of_inputs() -> None:
    assert oracle.tolerances(problem(), [1, 0.5, 1, []]) == [0, 1e-6, 1e-6, 1e-6]
    assert oracle.tolerances(problem(atol=1e-4), [1, 0.5]) == [1e-4, 1e-4]


def test_find_zero_accepts_any_root() -> None:
    p = problem("find_zero", atol=1e-4)
    assert right(p, 1.0, 2.0, ([2, -3, 1],))
    assert right(p, 2.0, 2.0, ([2, -3, 1],))
    assert not right(p, 1.5, 2.0, ([2, -3, 1],))
    assert not right(p, None, 2.0, ([2, -3, 1],))


def test_the_oracles_of_mbpp() -> None:
    as_sets = problem("similar_elements", "Mbpp/2")
    assert oracle.compares_as_set(as_sets)
    assert right(as_sets, [3, 2, 2], (2, 3))
    assert not right(as_sets, [3], (2, 3))
    assert not right(as_sets, [[3]], (2, 3))
    there = problem("check_str", "Mbpp/454")
    assert oracle.expected_value(there, Opaque("Match")) is True
    assert right(there, Opaque("Match"), True)
    assert right(there, None, False)
    assert not right(there, True, False)
    assert right(problem("sum_div", "Mbpp/295"), 0, 7)
    assert right(problem("are_equivalent", "Mbpp/164"), "anything", True)
    assert right(problem("digit_distance_nums", "Mbpp/558"), 9, 0, (123, 256)) is False
    assert right(problem("digit_distance_nums", "Mbpp/558"), 7, 0, (123, 256))
    pyramid = problem("surface_Area", "Mbpp/581")
    assert right(pyramid, 35, 0, (3, 4))
    assert not right(pyramid, None, 0, (3, 4))


def test_the_oracles_belong_to_their_benchmark() -> None:
    assert not right(problem("sum_div"), 0, 7)
    assert not oracle.compares_as_set(problem("Diff"))
