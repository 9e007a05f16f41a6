"""Whether an output is right: EvalPlus's rules of comparison, on values that came over the wire.

Equality first; floats within atol 1e-6 and rtol 1e-7 when the expected value is a float or floats, or within the
problem's own atol, types being equal; and the oracles of the tasks whose answer is not unique. As in EvalPlus 0.3.1,
once a list of inputs (base, or plus) has shown an expected float, the tolerance holds for the rest of that list.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from worker.grade.problems import Arguments, CodeProblem
from worker.grade.wire import MAX_HASHED, Opaque

FLOAT_ATOL = 1e-6
FLOAT_RTOL = 1e-7
_STRETCHED = 1_000_000
# Tasks of MBPP+ that compare as sets, and those that only ask whether there is a result.
_AS_SETS = frozenset(
    {"similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly", "larg_nnum"}
    | {"intersection_array", "find_dissimilar", "Diff"}
)
_NOT_NONE = frozenset({"check_str", "text_match_three", "text_starta_endb"})
_Extra = Callable[[Any, Arguments, float], bool]


def compares_as_set(problem: CodeProblem) -> bool:
    """Tell whether any iterable is an acceptable form of this problem's answer."""
    return problem.dataset == "mbpp" and problem.entry_point in _AS_SETS


def expected_value(problem: CodeProblem, output: Any) -> Any:
    """Return what an output is compared with, from the canonical solution's output."""
    return output is not None if problem.dataset == "mbpp" and problem.entry_point in _NOT_NONE else output


def tolerances(problem: CodeProblem, expected: Sequence[Any]) -> list[float]:
    """Return the absolute tolerance of each output of one list of inputs, in the file's order."""
    found = []
    atol = problem.atol
    for value in expected:
        if atol == 0 and _is_floats(value):
            atol = FLOAT_ATOL
        found.append(atol)
    return found


def is_right(problem: CodeProblem, arguments: Arguments, output: Any, expected: Any, atol: float) -> bool:
    """Tell whether an output answers a call. An output on which the comparison itself fails is wrong."""
    try:
        with np.errstate(all="ignore"):
            return _compare(problem, arguments, output, expected, atol)
    except (TypeError, ValueError, ArithmeticError, AttributeError, IndexError, RecursionError, MemoryError):
        return False


def _compare(problem: CodeProblem, arguments: Arguments, output: Any, expected: Any, atol: float) -> bool:
    name = problem.entry_point
    if problem.dataset == "humaneval" and name == "find_zero":
        return bool(abs(_polynomial(arguments[0], output)) <= problem.atol)
    exact = output == expected
    if problem.dataset == "mbpp":
        if name in _AS_SETS:
            exact = _small(output) and set(output) == set(expected)
        elif name in _NOT_NONE:
            exact = output == expected if isinstance(output, bool) else expected == (output is not None)
        elif name in _EXTRA:
            exact = bool(exact) or _EXTRA[name](output, arguments, atol)
    if exact or atol == 0:
        return bool(exact)
    if type(output) is not type(expected) or isinstance(output, Opaque):
        return False
    if isinstance(expected, list | tuple) and len(output) != len(expected):
        return False
    return _are_close(np.asarray(output), np.asarray(expected), atol)


def _are_close(output: np.ndarray, expected: np.ndarray, atol: float) -> bool:
    """Compare as EvalPlus does, which stretches unlike shapes; how far is bounded, as memory is."""
    stretched = math.prod(np.broadcast_shapes(output.shape, expected.shape))
    if stretched > max(output.size, expected.size, _STRETCHED):
        return False
    return bool(np.allclose(output, expected, rtol=FLOAT_RTOL, atol=atol))


def _small(output: Any) -> bool:
    return len(output) <= MAX_HASHED


def _is_floats(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(isinstance(item, float) for item in value)
    if isinstance(value, np.ndarray):
        return bool(value.dtype in (np.float32, np.float64))
    return isinstance(value, float)


def _polynomial(coefficients: list, at: Any) -> Any:
    return sum(coefficient * math.pow(at, power) for power, coefficient in enumerate(coefficients))


def _any_answer(_output: Any, _arguments: Arguments, _atol: float) -> bool:
    return True


def _zero(output: Any, _arguments: Arguments, _atol: float) -> bool:
    return bool(output == 0)


def _pyramid_surface(output: Any, arguments: Arguments, atol: float) -> bool:
    """Take the height as the distance from the base to the apex, where the reference takes the slant."""
    edge, height = arguments
    slant = math.sqrt((edge / 2) ** 2 + height**2)
    return bool(abs(output - round(edge**2 + 2 * edge * slant)) <= atol)


def _digit_distance(output: Any, arguments: Arguments, _atol: float) -> bool:
    """Compare digit by digit after padding the shorter number with zeros."""
    first, second = map(str, arguments)
    width = max(len(first), len(second))
    pairs = zip(first.zfill(width), second.zfill(width), strict=True)
    return bool(output == sum(abs(int(a) - int(b)) for a, b in pairs))


_EXTRA: dict[str, _Extra] = {
    "are_equivalent": _any_answer,
    "sum_div": _zero,
    "surface_Area": _pyramid_surface,
    "digit_distance_nums": _digit_distance,
}
