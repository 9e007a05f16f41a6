"""Read values of strangers' JSON: what is not of the expected type is as if it were not there."""

from typing import Any


def text_of(value: Any) -> str:
    """Return a string with single blanks, empty for anything else."""
    return " ".join(value.split()) if isinstance(value, str) else ""


def list_of(value: Any) -> list[Any]:
    """Return a list, empty for anything else."""
    return value if isinstance(value, list) else []


def mapping_of(value: Any) -> dict[str, Any]:
    """Return a mapping, empty for anything else."""
    return value if isinstance(value, dict) else {}


def count_of(value: Any) -> int | None:
    """Return a whole number, or None for anything else, true and false included."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None
