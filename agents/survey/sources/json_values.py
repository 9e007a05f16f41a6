"""Read values of strangers' JSON: what is not of the expected type is as if it were not there."""

import json
from typing import Any

from agents.survey.text import printable
from core.errors import SourceError


def parse_json(body: bytes) -> Any:
    """Return the value of a JSON document; raise SourceError for anything else, however it was made to fail."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise SourceError("The answer is not JSON.") from error


def text_of(value: Any) -> str:
    """Return a string of printable characters with single blanks, empty for anything else."""
    return printable(value) if isinstance(value, str) else ""


def list_of(value: Any) -> list[Any]:
    """Return a list, empty for anything else."""
    return value if isinstance(value, list) else []


def mapping_of(value: Any) -> dict[str, Any]:
    """Return a mapping, empty for anything else."""
    return value if isinstance(value, dict) else {}


def count_of(value: Any) -> int | None:
    """Return a whole number, or None for anything else, true and false included."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None
