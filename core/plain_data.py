"""Read YAML or JSON from strangers into plain values: dicts, lists, strings, numbers, booleans and None.

The YAML taken is the part that means the same to everybody: no aliases (hence no "billion laughs"), no tags, no
duplicate keys, and YAML 1.2's core types only, so that `no` stays a word and `12:30` a text. Size, depth and number of
values are limited. Values that no database column or JSON document can hold (NUL, lone surrogates, infinities, numbers
beyond 64 bits) are refused. It does not know what the values mean.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any, Never

import yaml

from core.errors import InvalidInputError, Problem

MAX_BYTES = 256 * 1024
MAX_DEPTH = 24
MAX_VALUES = 20_000

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = {"", "~", "null", "Null", "NULL"}
_BOOLEAN = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9]{1,40}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,5})?")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def decode_text(data: bytes) -> str:
    """Return UTF-8 text; raise InvalidInputError when it is too long or not UTF-8."""
    if len(data) > MAX_BYTES:
        raise InvalidInputError(
            f"The document has {len(data)} bytes.", fix=f"At most {MAX_BYTES} are read; move data into files."
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"The document is not UTF-8 (byte {error.start}).", fix="Save it as UTF-8.") from error


def read_json(text: str) -> Any:
    """Return the plain value of a JSON document; raise InvalidInputError where it is not one."""
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError as error:
        raise _too_deep() from error
    except ValueError as error:
        raise InvalidInputError(f"The document is not JSON: {error}") from error
    return _checked(value)


def read_yaml(text: str) -> Any:
    """Return the plain value of a YAML document; raise InvalidInputError where it is not one."""
    try:
        return _checked(_YamlReader(text).document())
    except yaml.YAMLError as error:
        raise InvalidInputError(f"The document is not YAML: {' '.join(str(error).split())}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _duplicate(key, None)
        found[key] = value
    return found


def _no_constant(name: str) -> Never:
    raise ValueError(f"{name} is not a JSON number")


def _duplicate(key: str, line: int | None) -> InvalidInputError:
    where = "" if line is None else f" (line {line})"
    return InvalidInputError(
        f"The key {key[:80]!r} is given twice{where}.",
        fix="Keep one of them.",
        problems=(Problem(path=key[:80], given="twice", allowed="once", message="This key is given twice."),),
    )


def _too_deep() -> InvalidInputError:
    return InvalidInputError(f"The document is nested deeper than {MAX_DEPTH} levels.")


class _YamlReader:
    """Builds plain values from libyaml's events; nothing is constructed that a document asks for."""

    def __init__(self, text: str) -> None:
        self._events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)
        self._values = 0

    def document(self) -> Any:
        """Return the value of the only document."""
        next(self._events)
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        value = self._value(next(self._events), 0)
        next(self._events)
        if not isinstance(next(self._events), yaml.StreamEndEvent):
            raise InvalidInputError("The file holds more than one YAML document.", fix="Send one document.")
        return value

    def _value(self, event: Any, depth: int) -> Any:
        self._admit(event, depth)
        if isinstance(event, yaml.ScalarEvent):
            return event.value if event.style or event.tag == "!" else _scalar(event.value)
        if isinstance(event, yaml.SequenceStartEvent):
            return list(self._items(depth))
        return self._mapping(depth)

    def _admit(self, event: Any, depth: int) -> None:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise InvalidInputError(f"Line {line} uses an anchor or alias.", fix="Write the value out.")
        if event.tag not in {None, "!"}:
            raise InvalidInputError(f"Line {line} uses the tag {event.tag[:80]!r}.", fix="Remove it.")
        if depth > MAX_DEPTH:
            raise _too_deep()
        self._values += 1
        if self._values > MAX_VALUES:
            raise InvalidInputError(f"The document has more than {MAX_VALUES} values.")

    def _items(self, depth: int) -> Iterator[Any]:
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            yield self._value(event, depth + 1)

    def _mapping(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            line = event.start_mark.line + 1
            if not isinstance(event, yaml.ScalarEvent):
                raise InvalidInputError(f"Line {line} has a key that is not a word.")
            self._admit(event, depth + 1)
            if event.value in found:
                raise _duplicate(event.value, line)
            found[event.value] = self._value(next(self._events), depth + 1)
        return found


def _scalar(text: str) -> Any:
    """Return a plain scalar's value by YAML 1.2's core schema, without its octal, hexadecimal and infinite numbers."""
    if text in _NULL:
        return None
    if text in _BOOLEAN:
        return _BOOLEAN[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text


def _checked(value: Any) -> Any:
    """Return the value when all of it can be stored; raise InvalidInputError with every path that can't."""
    problems = tuple(_unstorable(value, "", 0))
    if problems:
        raise InvalidInputError("The document holds values that can't be stored.", problems=problems)
    return value


def _unstorable(value: Any, path: str, depth: int) -> Iterator[Problem]:
    if depth > MAX_DEPTH:
        raise _too_deep()
    if isinstance(value, dict):
        for key, inner in value.items():
            name = _UNSTORABLE.sub("\ufffd", key)[:80]
            if name != key[:80]:
                yield Problem(path=f"{path}.{name}".lstrip("."), given=name, allowed="text without NUL", message="")
            yield from _unstorable(inner, f"{path}.{name}".lstrip("."), depth + 1)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _unstorable(inner, f"{path}[{number}]", depth + 1)
    elif isinstance(value, str) and _UNSTORABLE.search(value):
        yield Problem(path=path, given="NUL or a lone surrogate", allowed="Unicode text", message="Not storable text.")
    elif isinstance(value, float) and not math.isfinite(value):
        yield Problem(path=path, given=str(value), allowed="a finite number", message="This is not a finite number.")
    elif isinstance(value, int) and abs(value) >= 2**63:
        yield Problem(path=path, given="a larger number", allowed="a 64-bit number", message="This number is too big.")
