"""Read a Statement of Work from YAML, JSON, or Markdown with YAML front matter, and say all that is wrong at once.

What is read is hostile until it is validated (core/plain_data.py). A SoW in prose alone needs a language model to be
read into fields (agents/intake.py); none is asked here.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from pydantic import ValidationError

from core.errors import InvalidInputError, Problem
from core.plain_data import decode_text, read_json, read_yaml
from core.sow_problems import field_problems
from core.task_kinds import task_kind
from core.types.sow import StatementOfWork

_FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)(.*)\Z", re.DOTALL | re.MULTILINE)


class SowFormat(StrEnum):
    """How a SoW is written."""

    YAML = "yaml"
    JSON = "json"
    MARKDOWN = "markdown"


_SUFFIXES = {".yaml": SowFormat.YAML, ".yml": SowFormat.YAML, ".json": SowFormat.JSON, ".md": SowFormat.MARKDOWN}


class ProseOnlyError(InvalidInputError):
    """The SoW is prose without fields, which needs a language model to be read."""

    code = "needs_language_model"


def format_of_suffix(suffix: str) -> SowFormat:
    """Return the format that a file's suffix tells; raise InvalidInputError for others."""
    found = _SUFFIXES.get(suffix.lower())
    if found is None:
        raise InvalidInputError(
            f"A SoW can't be read from a {suffix or 'nameless'} file.", fix=f"Use {', '.join(_SUFFIXES)}."
        )
    return found


def read_sow(data: bytes, form: SowFormat, *, survey_only: bool = False) -> StatementOfWork:
    """Return the SoW that a document holds; raise InvalidInputError with every problem of every field.

    With `survey_only`, what the kind of task needs beyond its literature (models, benchmarks) may be missing.
    """
    fields = _fields(decode_text(data), form)
    if not isinstance(fields, Mapping):
        raise InvalidInputError(f"The SoW is a {type(fields).__name__}, not a mapping of fields.", fix="See examples/.")
    return validate_sow(fields, survey_only=survey_only)


def validate_sow(fields: Mapping[str, Any], *, survey_only: bool = False) -> StatementOfWork:
    """Return the SoW of plain fields; raise InvalidInputError with every problem of every field."""
    try:
        sow = StatementOfWork.model_validate(fields)
    except ValidationError as error:
        problems = field_problems(error)
        further = () if survey_only else _further_problems(fields, problems)
        raise _invalid((*problems, *further)) from error
    missing = () if survey_only else task_kind(sow.kind).problems(sow)
    if missing:
        raise _invalid(missing)
    return sow


def _invalid(problems: tuple[Problem, ...]) -> InvalidInputError:
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return InvalidInputError(f"The SoW has {count}.", fix="Correct the fields listed.", problems=problems)


def _further_problems(fields: Mapping[str, Any], found: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """Return what the task's kind misses in the sections that are valid, so that a second round is not needed."""
    broken = {_section(p) for p in found}
    if broken & {"kind", "benchmarks"}:
        return ()
    sound = {"sow": 1, "title": "untitled", **{k: v for k, v in fields.items() if k not in broken}}
    try:
        sow = StatementOfWork.model_validate(sound)
    except ValidationError:
        return ()
    return tuple(p for p in task_kind(sow.kind).problems(sow) if _section(p) not in broken)


def _section(problem: Problem) -> str:
    return re.split(r"[.\[]", str(problem["path"]), maxsplit=1)[0]


def _fields(text: str, form: SowFormat) -> Any:
    if form is SowFormat.JSON:
        return read_json(text)
    front = _FRONT_MATTER.match(text)
    if form is SowFormat.YAML:
        return read_yaml(text)
    if front is None:
        raise ProseOnlyError(
            fix="Put the fields in YAML front matter between two lines of ---, or configure a language model."
        )
    fields = read_yaml(front.group(1))
    return _with_prose(fields, front.group(2).strip()) if isinstance(fields, dict) else fields


def _with_prose(fields: dict[str, Any], prose: str) -> dict[str, Any]:
    """Return the fields with the text below them as the task, or as the motivation where a task is given."""
    if not prose:
        return fields
    free = next((name for name in ("task", "motivation") if name not in fields), None)
    return fields if free is None else {**fields, free: prose}
