"""Turn values into pages: Jinja with everything escaped, and the few words and numbers that pages need.

All text may come from models and papers. No template marks anything as safe, and no page has inline script or style.
"""

import hashlib
import json
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from core.types.evaluation import Score

HERE = Path(__file__).parent
STATIC = HERE / "static"


def percent(value: float | None, digits: int = 1) -> str:
    """Return a number of 0 to 1 in percent."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


def interval(score: Score | None) -> str:
    """Return a score's confidence interval in percent."""
    if score is None or score.interval is None:
        return ""
    return f"{100 * score.interval.low:.1f} – {100 * score.interval.high:.1f}"


def points(score: Score | None) -> str:
    """Return a difference of scores in percentage points."""
    return "" if score is None else f"{100 * score.value:+.1f}"


def duration(seconds: float | None) -> str:
    """Return a duration in the unit that a reader thinks in."""
    if seconds is None:
        return "–"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def moment(at: datetime | str) -> str:
    """Return a time of day with its date, in UTC."""
    when = datetime.fromisoformat(at) if isinstance(at, str) else at
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def words(name: object) -> str:
    """Return an identifier as words."""
    return str(name).replace("_", " ")


def size(count: int) -> str:
    """Return a number of bytes in a readable unit."""
    return (
        f"{count} B" if count < 1024 else f"{count / 1024:.0f} kB" if count < 1024**2 else f"{count / 1024**2:.1f} MB"
    )


def first_line(text: str, limit: int = 90) -> str:
    """Return what shows what a text is about."""
    line = next((part.strip() for part in text.splitlines() if part.strip()), "")
    return line if len(line) <= limit else line[: limit - 1] + "…"


def pretty(value: Any) -> str:
    """Return a JSON value over several lines."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


@cache
def asset(name: str) -> str:
    """Return the address of a static file, which changes with its content."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:10]
    return f"/static/{name}?v={digest}"


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    filters = (percent, interval, points, duration, moment, words, size, first_line, pretty)
    made.filters.update({f.__name__: f for f in filters})
    made.globals["asset"] = asset
    return made


def page(template: str, code: int = 200, **values: Any) -> HTMLResponse:
    """Return a rendered page."""
    return HTMLResponse(_environment().get_template(template).render(**values), code)


def error_page(status: int, title: str, detail: str, fix: str | None) -> HTMLResponse:
    """Return the page for an error."""
    return page("error.html", status, title=title, detail=detail, fix=fix)
