"""Plain values as bytes: what code under test may return, and how the grader reads it.

The bytes are a small, versioned part of the interpreter's marshal format (version 2, which depends on the value
alone), so writing is C speed. Reading is our own strict parser with limits on depth and size: the writer shares a
process with hostile code, so any bytes may arrive. Values of other types travel as a tagged tuple that starts
with an Ellipsis (which no plain value holds): NumPy numbers and arrays, honest subclasses of plain types, decimals,
fractions. Whatever is left is only named, and equals nothing. A long value is represented by its digest, which is
enough to see that it is the expected one.

Does not protect the writer: a sample may lie about what it returned, which gains nothing without the right answer.
"""

import hashlib
import marshal
import struct
from collections import Counter, OrderedDict, UserDict, UserList, UserString, defaultdict
from collections.abc import Callable
from decimal import Decimal, DecimalException
from fractions import Fraction
from itertools import chain
from types import MappingProxyType
from typing import Any

import numpy as np

MAX_DEPTH = 64
MAX_HASHED = 5_000  # entries of a set or dict: crafted collisions cost the square
_MAX_ARRAY = 1000  # elements: comparing arrays of unlike shapes costs their product
_MAX_FRACTION_BITS = 1 << 14  # reducing a fraction costs the square
BRIEF = 8192  # bytes: a longer value is represented by its digest
_DIGEST = b"#"  # no value starts so
_PIECE = 8192  # items of a long list that are encoded at a time
_VERSION = 2
_SCALARS = frozenset({type(None), bool, int, float, complex, str, bytes})
_SEQUENCES = frozenset({list, tuple})
_BASES: tuple[type, ...] = (int, float, complex, str, bytes, list, tuple, dict, set, frozenset)
_HONEST = frozenset({OrderedDict, Counter, defaultdict, np.str_})
_UNWRAP: dict[type, Callable[[Any], Any]] = {
    int: int.__int__,
    float: float.__float__,
    complex: complex.__pos__,
    str: str.__str__,
    bytes: lambda x: bytes.__getitem__(x, slice(None)),
    list: lambda x: list.__getitem__(x, slice(None)),
    tuple: lambda x: tuple.__getitem__(x, slice(None)),
    dict: dict.copy,
    set: lambda x: set(set.__iter__(x)),
    frozenset: lambda x: frozenset(frozenset.__iter__(x)),
}
# Not subclasses of plain types, but equal to their values.
_VIEWS: dict[type, tuple[str, Callable[[Any], Any]]] = {
    bytearray: ("bytes", bytes),
    type({}.keys()): ("set", set),
    MappingProxyType: ("dict", dict),
    UserList: ("list", lambda x: x.data),
    UserDict: ("dict", lambda x: x.data),
    UserString: ("str", lambda x: x.data),
}
_SUBCLASSES = {base.__name__: type(f"Sub{base.__name__}", (base,), {}) for base in _BASES}
_ARRAYS = frozenset({np.ndarray, *np.sctypeDict.values()}) - {np.str_, np.bytes_}
_NUMBERS = frozenset(
    {"bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}
    | {"float16", "float32", "float64", "complex64", "complex128"}
)


class WireError(ValueError):
    """Not a plain value within the limits."""


class Opaque:
    """A returned value that has no plain form. Equal to nothing, not None."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


# --- writing ---------------------------------------------------------------------------------------------


def encode(value: object) -> bytes:
    """Encode a value; equal plain values give equal bytes unless their dicts are ordered differently."""
    plain: Any = value if _is_plain(value, 0) else _tagged(value, 0)
    return marshal.dumps(plain, _VERSION)


def brief(value: Any) -> bytes:
    """Encode a value, or a digest of it where the encoding is long. Long lists are never encoded in one piece."""
    if type(value) in _SEQUENCES and len(value) > _PIECE:
        found = hashlib.blake2b(digest_size=16)
        for start in range(0, len(value), _PIECE):
            found.update(encode(value[start : start + _PIECE]))
        return _DIGEST + _kind(value) + found.digest()
    whole = encode(value)
    if len(whole) <= BRIEF:
        return whole
    return _DIGEST + _kind(value) + hashlib.blake2b(whole, digest_size=16).digest()


def _kind(value: Any) -> bytes:
    if type(value) in _SEQUENCES:
        return b"f" if set(map(type, value)) == {float} else b"o"
    return b"u" if type(value) is str else b"o"


def is_digest(output: bytes) -> bool:
    """Tell whether `brief` gave a digest."""
    return output[:1] == _DIGEST


def is_text_digest(output: bytes) -> bool:
    """Tell whether it is the digest of a string, which only an identical string equals."""
    return output[:2] == _DIGEST + b"u"


def stand_in(output: bytes) -> Any:
    """Return the value, or for a digest one that shows whether it is a list of floats."""
    if is_digest(output):
        return [0.0] if output[1:2] == b"f" else None
    return decode(output)


def _is_plain(value: Any, depth: int) -> bool:
    kind = type(value)
    if kind in _SCALARS:
        return True
    if depth >= MAX_DEPTH:
        return False
    if kind is list or kind is tuple or kind is set or kind is frozenset:
        kinds = set(map(type, value))
        if kinds <= _SEQUENCES:  # rows of scalars: looked through at C speed
            kinds = set(map(type, chain.from_iterable(value)))
        return kinds <= _SCALARS or all(_is_plain(item, depth + 1) for item in value)
    if kind is dict:
        return _is_plain(list(value), depth) and _is_plain(list(value.values()), depth)
    return False


def _tagged(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind in _SCALARS:
        return value
    if depth >= MAX_DEPTH:
        return (..., "object", "too deep")
    if kind is list or kind is tuple or kind is set or kind is frozenset:
        return kind([_tagged(item, depth + 1) for item in value])
    if kind is dict:
        return {_tagged(key, depth + 1): _tagged(item, depth + 1) for key, item in value.items()}
    return _foreign(value, kind, depth)


def _foreign(value: Any, kind: type, depth: int) -> tuple:
    if kind in _ARRAYS and value.dtype.name in _NUMBERS:
        if kind is np.ndarray:
            return (..., "array", value.dtype.name, value.shape, value.ravel().tolist())
        return (..., "number", value.dtype.name, value.item())
    if kind in _VIEWS:
        name, plain = _VIEWS[kind]
        return (..., "sub", name, _tagged(plain(value), depth + 1))
    if kind is Decimal or kind is Fraction:
        return (..., kind.__name__.lower(), *((str(value),) if kind is Decimal else value.as_integer_ratio()))
    for base in _BASES:
        if isinstance(value, base) and (kind in _HONEST or kind.__eq__ is base.__eq__):
            return (..., "sub", base.__name__, _tagged(_UNWRAP[base](value), depth + 1))
    return (..., "object", value.name if kind is Opaque else str(kind.__name__)[:80])


# --- reading ---------------------------------------------------------------------------------------------


def decode(data: bytes) -> Any:
    """Decode one value strictly.

    Raises:
        WireError: malformed, too deep, too large a set or dict, or bytes left over.
    """
    reader = _Reader(data)
    try:
        value = reader.value(0)
    except (struct.error, IndexError, UnicodeDecodeError, TypeError, ValueError, OverflowError) as error:
        raise WireError(f"not a plain value: {error}") from error
    if reader.at != len(data) or value is ...:
        raise WireError("bytes left over")
    return value


class _Reader:
    """A cursor over untrusted bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.hashed = 0

    def value(self, depth: int) -> Any:
        if depth > 2 * MAX_DEPTH:
            raise WireError("too deep")
        tag = self.take(1)
        if tag in _CONSTANTS:
            return _CONSTANTS[tag]
        if tag in _FIXED:
            form = _FIXED[tag]
            numbers = form.unpack(self.take(form.size))
            return complex(*numbers) if tag == b"y" else numbers[0]
        if tag == b"s":
            return self.take(self.count())
        if tag == b"u":
            return self.take(self.count()).decode("utf-8", "surrogatepass")
        if tag == b"l":
            return self.long()
        return self.container(tag, depth + 1)

    def take(self, size: int) -> bytes:
        piece = self.data[self.at : self.at + size]
        if size < 0 or len(piece) != size:
            raise WireError("cut short")
        self.at += size
        return piece

    def count(self) -> int:
        (size,) = _I32.unpack(self.take(4))
        if not 0 <= size <= len(self.data) - self.at:
            raise WireError("impossible length")
        return int(size)

    def long(self) -> int:
        (size,) = _I32.unpack(self.take(4))
        digits = struct.unpack(f"<{abs(size)}H", self.take(2 * abs(size)))
        if not digits or max(digits) >= 1 << 15:
            raise WireError("not an integer")
        # Base 2 is read in linear time, unlike a sum of shifts.
        number = int("".join([format(digit, "015b") for digit in reversed(digits)]), 2)
        return -number if size < 0 else number

    def container(self, tag: bytes, depth: int) -> Any:
        if tag == b"{":
            return self.mapping(depth)
        if tag not in _CONTAINERS:
            raise WireError(f"unknown tag {tag!r}")
        size = self.count()
        if tag in b"<>":
            self.hash(size**2)
        items = [self.value(depth) for _ in range(size)]
        if items and items[0] is ...:
            return _special(tag, items)
        if any(item is ... for item in items):
            raise WireError("a tag out of place")
        return _CONTAINERS[tag](items)

    def mapping(self, depth: int) -> dict:
        found: dict = {}
        while self.data[self.at] != ord("0"):
            key = self.value(depth)
            found[key] = self.value(depth)
            self.hash(2 * len(found) - 1)
            if key is ... or found[key] is ...:
                raise WireError("a tag out of place")
        self.at += 1
        return found

    def hash(self, steps: int) -> None:
        """Count the steps that hashed containers may take."""
        self.hashed += steps
        if self.hashed > MAX_HASHED**2:
            raise WireError("too large a set or dict")


_I32 = struct.Struct("<i")
_FIXED = {b"i": _I32, b"g": struct.Struct("<d"), b"y": struct.Struct("<dd")}
_CONSTANTS: dict[bytes, object] = {b"N": None, b"T": True, b"F": False, b".": ...}
_CONTAINERS: dict[bytes, Callable[[list], object]] = {b"(": tuple, b"[": list, b"<": set, b">": frozenset}


def _special(tag: bytes, items: list) -> object:
    match items[1:]:
        case ["object", str(name)] if tag == b"(":
            return Opaque(name)
        case ["number", str(kind), bool() | int() | float() | complex() as number] if kind in _NUMBERS:
            return np.dtype(kind).type(number)
        case ["array", str(kind), tuple(shape), list(flat)] if kind in _NUMBERS and len(flat) == np.prod(shape):
            # A longer one equals nothing that is expected: only arrays of one element have a truth value.
            return np.array(flat, dtype=kind).reshape(shape) if len(flat) <= _MAX_ARRAY else Opaque("ndarray")
        case ["decimal", str(digits)] if len(digits) < 10_000:
            return _decimal(digits)
        case ["fraction", int(above), int(below)] if (
            below > 0 and max(above.bit_length(), below.bit_length()) <= _MAX_FRACTION_BITS
        ):
            return Fraction(above, below)
        case ["sub", str(base), plain] if base in _SUBCLASSES and type(plain).__name__ == base:
            return _SUBCLASSES[base](plain)
    raise WireError("an unknown tag")


def _decimal(digits: str) -> Decimal:
    try:
        return Decimal(digits)
    except DecimalException as error:
        raise WireError("not a decimal") from error
