"""The wire format: exact for plain values, honest about others, strict about bytes from anywhere."""

import marshal
import pickle
from collections import Counter, OrderedDict, UserDict, UserList, UserString, defaultdict, namedtuple
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.grade.wire import BRIEF, MAX_HASHED, Opaque, WireError, brief, decode, encode, is_digest

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.binary(max_size=20)
    | st.text(max_size=20) | st.complex_numbers(allow_nan=False)
)  # fmt: skip
PLAIN = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(SCALARS, inner, max_size=5)
        | st.frozensets(SCALARS, max_size=5)
        | st.sets(SCALARS, max_size=5)
    ),
    max_leaves=30,
)
Pair = namedtuple("Pair", "a b")


class Color(IntEnum):
    RED = 1


def same_types(a: object, b: object) -> bool:
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return type(a) is type(b) and all(same_types(x, y) for x, y in zip(a, b, strict=True))
    return type(a) is type(b)


@settings(max_examples=200, deadline=None)
@given(PLAIN)
def test_plain_values_come_back_equal_and_of_the_same_type(value: object) -> None:
    back = decode(encode(value))
    assert back == value
    assert same_types(back, value)
    assert encode(back) == encode(value)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_an_error(data: bytes) -> None:
    try:
        value = decode(data)
    except WireError:
        return
    assert value is not ...


@pytest.mark.parametrize(
    "value",
    [np.float64(0.5), np.int8(3), np.bool_(True), np.array([[1, 2], [3, 4]]), np.array([0.5]), np.complex64(1j)],
    ids=repr,
)
def test_numpy_values_stay_numpy_values(value: object) -> None:
    back = decode(encode(value))
    assert type(back) is type(value)
    assert np.array_equal(back, value)


@pytest.mark.parametrize(
    "value",
    [OrderedDict(a=1), Counter("aab"), defaultdict(int, a=1), Pair(1, [2]), Color.RED, np.str_("x"),
     Decimal("0.10"), Fraction(2, 3), bytearray(b"x"), {1: [2]}.keys(), MappingProxyType({"a": 1}), UserList([1]),
     UserDict(a=1), UserString("a")],
    ids=repr,
)  # fmt: skip
def test_honest_subclasses_equal_what_they_equalled_but_are_no_plain_type(value: object) -> None:
    back = decode(encode([value]))[0]
    assert back == value
    assert type(back) not in {int, str, dict, tuple}


def test_a_lying_subclass_is_opaque() -> None:
    class Liar(int):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = int.__hash__

    assert isinstance(decode(encode(Liar(3))), Opaque)


@pytest.mark.parametrize(
    "value", [object(), (x for x in ()), range(3), len, ..., {1: {2}}.values()], ids=lambda value: type(value).__name__
)
def test_other_values_equal_nothing(value: object) -> None:
    back = decode(encode(value))
    assert isinstance(back, Opaque)
    assert back != value
    assert back is not None


@pytest.mark.parametrize(
    "data",
    [
        b"", b"N ", b"..", b".", b"i\x00", b"(\xff\xff\xff\x7f", b"[\xff\xff\xff\xff", b"l\x01\x00\x00\x00\xff\xff",
        b"l\x00\x00\x00\x00", b"u\x01\x00\x00\x00\xff", b"<\x01\x00\x00\x00[\x00\x00\x00\x00", b"{N", b"{[\x00\x00\x00\x00N0",  # noqa: E501
        b"c\x00\x00\x00\x00", b"R\x00\x00\x00\x00", b"(\x01\x00\x00\x00" * 1000 + b"N", b"#o" + bytes(16),
        marshal.dumps((..., "array", "int64", (2, 2), [1]), 2), marshal.dumps((..., "number", "object", 1), 2),
        marshal.dumps((..., "sub", "list", (1,)), 2), marshal.dumps([1, ...], 2), marshal.dumps((..., "exec", "x"), 2),
        marshal.dumps(compile("1", "", "eval"), 2), pickle.dumps([1]), marshal.dumps(set(range(MAX_HASHED + 1)), 2),
        marshal.dumps((..., "decimal", "abc"), 2), marshal.dumps((..., "array", "int64", (-1, -1), [1]), 2),
    ],
)  # fmt: skip
def test_malformed_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        decode(data)


def test_crafted_values_cost_the_reader_little() -> None:
    colliding = b"".join(marshal.dumps(k * (2**61 - 1), 2) + b"N" for k in range(MAX_HASHED + 1))
    with pytest.raises(WireError, match="too large"):
        decode(b"{" + colliding + b"0")
    small = marshal.dumps([set(range(1000))] * 26, 2)
    with pytest.raises(WireError, match="too large"):
        decode(small)
    assert len(decode(marshal.dumps([{i: 0} for i in range(50_000)], 2))) == 50_000
    with pytest.raises(WireError, match="unknown tag"):
        decode(marshal.dumps((..., "fraction", 3**100_000, 2**100_000), 2))
    assert isinstance(decode(marshal.dumps((..., "array", "int8", (5000, 1), [0] * 5000), 2)), Opaque)


def test_a_huge_integer_is_read_in_reasonable_time() -> None:
    number = 3**300_000
    assert decode(encode(number)) == number
    assert decode(encode(-number)) == -number


def test_long_values_are_digests_and_equal_for_equal_values() -> None:
    assert not is_digest(brief([1] * 100))
    assert is_digest(brief("x" * (BRIEF + 1)))
    rows = [(i, str(i)) for i in range(50_000)]
    assert is_digest(brief(rows))
    assert brief(rows) == brief([(i, str(i)) for i in range(50_000)])
    assert brief(rows) != brief([*rows[:-1], (0, "0")])
    assert brief(rows) != brief(tuple(rows))
    assert brief([0.5] * 10_000)[1:2] == b"f"
