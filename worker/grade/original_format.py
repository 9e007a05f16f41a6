"""What a test in EvalPlus's original format holds: `inputs = [...]`, and a loop that calls the function on each.

That is how the hub's data sets carry the inputs. Read by parsing: nothing is run.
"""

import ast
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from core.errors import InvalidInputError

_SEQUENCES: dict[type, type] = {ast.List: list, ast.Tuple: tuple, ast.Set: set}
_NAMES = {"inf": math.inf, "nan": math.nan}
_MAKERS: dict[str, Callable[..., Any]] = {
    "set": set, "frozenset": frozenset, "tuple": tuple, "list": list, "dict": dict, "float": float, "complex": complex,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class OriginalTest:
    """The argument tuples of a test, the absolute tolerance it compares with, and the name that it calls."""

    inputs: tuple[tuple[Any, ...], ...]
    atol: float
    called: str


def read_original_format(test: str, task_id: str) -> OriginalTest | None:
    """Return what a test holds, or None where it is of another form.

    Raises:
        InvalidInputError: it is of this form, but its inputs are not plain values.
    """
    try:
        tree = ast.parse(test)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    listed = [node.value for node in ast.walk(tree) if isinstance(node, ast.Assign) and _is_inputs(node)]
    loops = [node for node in ast.walk(tree) if isinstance(node, ast.For)]
    if len(listed) != 1 or not loops:
        return None
    try:
        inputs = tuple(tuple(call) for call in _value(listed[0]))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise InvalidInputError(f"The inputs in the test of {task_id} are not plain values.") from error
    return OriginalTest(inputs, _tolerance(loops[-1]), _called(loops[-1]))


def _is_inputs(node: ast.Assign) -> bool:
    return any(isinstance(target, ast.Name) and target.id == "inputs" for target in node.targets)


def _value(node: ast.expr) -> Any:
    """Evaluate a literal that may also hold `inf`, `nan` and calls such as `set()`."""
    value: Any
    match node:
        case ast.List(elts=items) | ast.Tuple(elts=items) | ast.Set(elts=items):
            value = _SEQUENCES[type(node)](map(_value, items))
        case ast.Dict(keys=keys, values=values):
            value = {_value(key): _value(item) for key, item in zip(keys, values, strict=True) if key is not None}
        case ast.Name(id=name):
            value = _NAMES[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            value = -_value(operand)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
            value = _MAKERS[name](*map(_value, args))
        case _:
            value = ast.literal_eval(node)
    return value


def _tolerance(loop: ast.For) -> float:
    """Return the last number of the loop's body: the tolerance that `assertion` is given, or a bound."""
    values = [node.value for node in ast.walk(loop) if isinstance(node, ast.Constant)]
    numbers = [value for value in values if isinstance(value, int | float)]
    return float(numbers[-1]) if numbers else 0.0


def _called(loop: ast.For) -> str:
    """Return the name of the function that is called on an input: `f(*inp)`."""
    for node in ast.walk(loop):
        match node:
            case ast.Call(func=ast.Name(id=name), args=[ast.Starred()]):
                return name
    return ""
