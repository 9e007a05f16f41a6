"""MBPP+ inputs as Python values: JSON has no tuples, sets or complex numbers, so the file's lists stand for them.

Which task needs which reading is a fact of the EvalPlus release (v0.2.0), kept here as a table.
"""

from collections.abc import Callable
from typing import Any

Call = list[Any]


def _deep_tuple(value: Any) -> Any:
    return tuple(_deep_tuple(item) for item in value) if isinstance(value, list) else value


def _tuples(rows: list) -> list:
    return [tuple(row) for row in rows]


def _each(call: Call) -> Call:
    return [tuple(argument) for argument in call]


def _each_rows(call: Call) -> Call:
    return [_tuples(argument) for argument in call]


def _first_rows(call: Call) -> Call:
    return [_tuples(call[0]), call[1]]


def _second(call: Call) -> Call:
    return [call[0], tuple(call[1])]


def _first(call: Call) -> Call:
    return [tuple(call[0]), *call[1:]]


def _each_tuple_of_rows(call: Call) -> Call:
    return [tuple(_tuples(argument)) for argument in call]


def _sets(call: Call) -> Call:
    return [[set(item) if isinstance(item, list) and item else {} for item in call[0]]]


def _mixed_tuple(call: Call) -> Call:
    return [tuple(tuple(item) if isinstance(item, list) else item for item in call[0])]


def _values(call: Call) -> Call:
    return [{key: tuple(value) for key, value in call[0].items()}, *call[1:]]


def _float_and_complex(call: Call) -> Call:
    return [float(call[0]), complex(call[1])]


def _complex(call: Call) -> Call:
    return [complex(call[0])]


def _deep(call: Call) -> Call:
    return [_deep_tuple(argument) for argument in call]


_READINGS: dict[Callable[[Call], Call], tuple[int, ...]] = {
    _each: (2, 116, 132, 143, 222, 261, 273, 394, 399, 421, 424, 429, 470, 560, 579, 596, 616, 630, 726, 740, 744, 809),
    _each_rows: (63, 64, 70, 94, 120, 237, 272, 299, 400, 409, 417, 438, 473, 614, 780),
    _first_rows: (75, 413, 444, 753),
    _second: (106, 750),
    _sets: (115,),
    _float_and_complex: (124,),
    _first: (250, 307, 405, 446, 617, 720, 763, 808),
    _each_tuple_of_rows: (259, 401, 445),
    _mixed_tuple: (278,),
    _values: (722,),
    _complex: (252,),
    _deep: (580, 615, 791),
}
_BY_TASK = {number: reading for reading, numbers in _READINGS.items() for number in numbers}


def read_inputs(task_id: str, calls: list[Call]) -> tuple[tuple[Any, ...], ...]:
    """Return the argument tuples of a task (`Mbpp/2`) from the file's lists."""
    reading = _BY_TASK.get(int(task_id.rpartition("/")[2]))
    return tuple(tuple(reading(call) if reading else call) for call in calls)
