"""OpenHands' events as we keep them: in words for a reader, bounded for the journal, and each stored once."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

QUIET = frozenset({"ConversationStateUpdateEvent", "SystemPromptEvent", "StreamingDeltaEvent"})
"""Kinds that say nothing that other events don't."""

MAX_EVENT_CHARACTERS = 60_000


def write_whole(file: Path, text: str) -> None:
    """Write a file that only we can read, at once: a kill in between leaves the old one."""
    staging = file.with_suffix(".new")
    staging.touch(mode=0o600)
    staging.write_text(text)
    staging.replace(file)


def read_mark(file: Path) -> tuple[str | None, set[str]]:
    """Return the time of the last stored event and the ids of all."""
    if not file.exists():
        return None, set()
    kept = json.loads(file.read_text())
    return kept["since"], set(kept["stored"])


def words_of(event: Mapping[str, Any]) -> str:
    """Return what an event says, whatever its kind."""
    action, observation = event.get("action") or {}, event.get("observation") or {}
    message = event.get("llm_message") or {}
    plain = action.get("command") or action.get("message") or event.get("error") or event.get("detail")
    parts = observation.get("content") or message.get("content") or ()
    return str(plain or "".join(p.get("text", "") for p in parts if isinstance(p, Mapping)))


def bounded(event: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an event, or its beginning where it is too long to keep."""
    text = json.dumps(event)
    if len(text) <= MAX_EVENT_CHARACTERS:
        return event
    return {"id": event["id"], "kind": event["kind"], "cut": text[:MAX_EVENT_CHARACTERS], "characters": len(text)}
