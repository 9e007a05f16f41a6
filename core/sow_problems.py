"""Say what is wrong with a SoW's fields in its author's terms: the path, what was given, what is allowed."""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from core.errors import Problem
from core.types.sow import StatementOfWork

SHOWN = 160
# The path of what concerns several fields.
WHOLE = "(document)"
_SCHEMA = StatementOfWork.model_json_schema()


def field_problems(error: ValidationError) -> tuple[Problem, ...]:
    """Return one problem a path, in the document's order of discovery."""
    found: dict[str, Problem] = {}
    for detail in error.errors(include_url=False):
        path, parent = _walk(detail["loc"])
        problem = _problem(path, parent, dict(detail))
        known = found.get(path)
        if known is None:
            found[path] = problem
        elif str(problem["allowed"]) not in str(known["allowed"]):
            found[path] = Problem({**known, "allowed": f"{known['allowed']}; or {problem['allowed']}"})
    return tuple(found.values())


def _problem(path: str, parent: Mapping[str, Any], detail: dict[str, Any]) -> Problem:
    kind = detail["type"]
    name = str(detail["loc"][-1]) if detail["loc"] else ""
    if kind == "extra_forbidden":
        fields = list(parent.get("properties", ()))
        close = difflib.get_close_matches(name, fields, 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        return Problem(path=path, given=name, allowed=", ".join(fields), message=f"There is no such field.{hint}")
    if kind == "missing":
        wanted = _resolve(parent.get("properties", {}).get(name, {}))
        about = wanted.get("const") or wanted.get("description") or "a value"
        return Problem(path=path, given=None, allowed=str(about), message="This field is required.")
    message = str(detail["msg"]).removeprefix("Value error, ")
    context = detail.get("ctx", {})
    allowed = str(context.get("expected") or context.get("pattern") or message).removeprefix("Input should be ")
    if kind == "string_type":
        allowed = "text; a number or a date that is meant as text goes in quotes"
    return Problem(path=path, given=_shown(detail.get("input")), allowed=allowed, message=message)


def _shown(given: Any) -> Any:
    """Return the given value, cut where it is long: an error must not send a document back."""
    if given is None or isinstance(given, bool | int | float):
        return given
    text = given if isinstance(given, str) else repr(given)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def _walk(location: Sequence[int | str]) -> tuple[str, Mapping[str, Any]]:
    """Return a location as a path, without pydantic's names of union members, and the schema around its end."""
    path = ""
    schema: Mapping[str, Any] = _SCHEMA
    parent: Mapping[str, Any] = _SCHEMA
    for part in location:
        options = _options(schema)
        if isinstance(part, int):
            inner = next((o for o in options if "items" in o or "prefixItems" in o), None)
            if inner is None:
                continue
            path += f"[{part}]"
            parent, schema = inner, inner.get("items") or inner["prefixItems"][min(part, len(inner["prefixItems"]) - 1)]
            continue
        inner = next((o for o in options if "properties" in o), None)
        if inner is not None:
            path = f"{path}.{part}".lstrip(".")
            parent, schema = inner, inner["properties"].get(part, {})
    return path or WHOLE, _resolve(parent)


def _options(schema: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    resolved = _resolve(schema)
    return [_resolve(o) for o in resolved.get("anyOf", [resolved])]


def _resolve(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref")
    return schema if reference is None else _SCHEMA["$defs"][reference.rsplit("/", 1)[-1]]
