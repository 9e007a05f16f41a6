"""The kinds of verifiable constraint, each a pure function of the response and its own arguments.

This is the reference checker that holds the generated data to its word; README.md tables the same semantics.
A response is stripped of white space at both ends first. A word is a maximal run of characters that are not white
space and that holds a letter or a digit.
"""

import json
import re
from collections.abc import Callable
from typing import Any

Constraint = dict[str, Any]


def words(text: str) -> list[str]:
    """Split a text into words; a run of punctuation alone is none."""
    return [run for run in text.split() if re.search(r"\w", run)]


def _lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def _json_keys(text: str, keys: list[str]) -> bool:
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return isinstance(value, dict) and set(value) == set(keys)


def _occurrences(text: str, keyword: str) -> int:
    return len(re.findall(rf"\b{re.escape(keyword.lower())}\b", text.lower()))


CHECKS: dict[str, Callable[..., bool]] = {
    "uppercase": lambda text: any(map(str.isalpha, text)) and text == text.upper(),
    "lowercase": lambda text: any(map(str.isalpha, text)) and text == text.lower(),
    "word_count": lambda text, count: len(words(text)) == count,
    "max_words": lambda text, count: 0 < len(words(text)) <= count,
    "starts_with": lambda text, prefix: text.startswith(prefix),
    "ends_with": lambda text, suffix: text.endswith(suffix),
    "include": lambda text, keyword, count=1: _occurrences(text, keyword) >= count,
    "exclude_character": lambda text, character: bool(text) and character not in text,
    "list_items": lambda text, count, marker: (
        len(_lines(text)) == count and all(line.startswith(f"{marker} ") and words(line) for line in _lines(text))
    ),
    "quoted": lambda text: len(text) > 2 and text[0] == text[-1] == '"',
    "json_keys": _json_keys,
    "separated": lambda text, count, separator: (
        len(parts := text.split(separator)) == count and all(words(part) for part in parts)
    ),
    "enclosed": lambda text, opening, closing: (
        len(text) > len(opening + closing) and text.startswith(opening) and text.endswith(closing)
    ),
}


def holds(constraint: Constraint, response: str) -> bool:
    """Say if the response meets one constraint; an unknown kind is a KeyError."""
    arguments = {key: value for key, value in constraint.items() if key != "kind"}
    return CHECKS[constraint["kind"]](response.strip(), **arguments)


def all_hold(constraints: list[Constraint], response: str) -> bool:
    """Say if the response meets every constraint."""
    return all(holds(constraint, response) for constraint in constraints)
