r"""Read BibTeX entries into plain dictionaries.

Handles nested braces, quotes, `#` joins of literals, comments and unknown macros; a broken entry is skipped and
counted, never fatal. It does not expand @string macros and does not interpret TeX beyond accents and braces.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

_ENTRY = re.compile(r"@\s*([A-Za-z]+)\s*([{(])")
_FIELD = re.compile(r"\s*([A-Za-z][\w-]*)\s*=\s*")
_ACCENT = re.compile(r"\\([`'^\"~=.uvHcdbkr])\s*\{?\s*(\\?[A-Za-z])\s*\}?")
_COMBINING = {
    "`": "\u0300", "'": "\u0301", "^": "\u0302", '"': "\u0308", "~": "\u0303", "=": "\u0304", ".": "\u0307",
    "u": "\u0306", "v": "\u030c", "H": "\u030b", "c": "\u0327", "d": "\u0323", "b": "\u0331", "k": "\u0328",
    "r": "\u030a",
}  # fmt: skip
_SKIPPED = frozenset({"comment", "string", "preamble"})


@dataclass(frozen=True)
class Bibliography:
    """The entries of a file, each with `type` and `key` beside its fields, and how many could not be read."""

    entries: tuple[dict[str, str], ...]
    broken: int


def parse_bibtex(text: str) -> Bibliography:
    """Return the entries of a BibTeX file."""
    entries: list[dict[str, str]] = []
    broken = 0
    for kind, body in _bodies(text):
        if kind in _SKIPPED:
            continue
        entry = _entry(kind, body) if body is not None else None
        if entry is None:
            broken += 1
        else:
            entries.append(entry)
    return Bibliography(tuple(entries), broken)


def _bodies(text: str) -> Iterator[tuple[str, str | None]]:
    position = 0
    while found := _ENTRY.search(text, position):
        end = _closing(text, found.end() - 1)
        following = _ENTRY.search(text, found.end())
        if end is None:
            yield found.group(1).lower(), None
            position = following.start() if following else len(text)
        else:
            yield found.group(1).lower(), text[found.end() : end]
            position = end + 1


def _closing(text: str, start: int) -> int | None:
    """Return where the bracket at `start` closes, or None where it never does before another entry begins a line."""
    close = "}" if text[start] == "{" else ")"
    depth = 0
    for index in range(start + 1, len(text)):
        char = text[index]
        if char == close and depth == 0:
            return index
        if char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
        elif char == "@" and text[index - 1] == "\n" and _ENTRY.match(text, index):
            return None
    return None


def _entry(kind: str, body: str) -> dict[str, str] | None:
    key, comma, rest = body.partition(",")
    if not comma:
        return None
    fields = {"type": kind, "key": key.strip()}
    position = 0
    while found := _FIELD.match(rest, position):
        value, position = _value(rest, found.end())
        if value is None:
            return None
        fields[found.group(1).lower()] = plain(value)
        while position < len(rest) and rest[position] in ", \t\r\n":
            position += 1
    return fields


def _value(text: str, position: int) -> tuple[str | None, int]:
    parts: list[str] = []
    while position < len(text):
        if text[position] == "{":
            end = _closing(text, position)
        elif text[position] == '"':
            end = _quote(text, position)
        else:
            found = re.compile(r"[^,\s#]+").match(text, position)
            end = found.end() - 1 if found else None
        if end is None:
            return None, position
        parts.append(text[position : end + 1].strip('{}"') if text[position] not in '{"' else text[position + 1 : end])
        joined = re.compile(r"\s*#\s*").match(text, end + 1)
        if not joined:
            return "".join(parts), end + 1
        position = joined.end()
    return None, position


def _quote(text: str, start: int) -> int | None:
    depth = 0
    for index in range(start + 1, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if text[index] == '"' and depth == 0:
            return index
    return None


def plain(value: str) -> str:
    """Return a field without TeX accents, braces and doubled blanks."""
    accented = _ACCENT.sub(lambda m: m.group(2).lstrip("\\") + _COMBINING.get(m.group(1), ""), value)
    bare = re.sub(r"[{}]", "", accented).replace("\\&", "&").replace("\\%", "%").replace("~", " ")
    return unicodedata.normalize("NFC", " ".join(bare.split()))
