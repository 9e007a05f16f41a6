"""A run's events: a page of them, or all as they come until the run ends.

Events are numbered when they are written and seen when their transaction commits, so that one may appear after a
higher number. The feed therefore holds back the newest for a moment: a reader that resumes after a number misses none.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from app.service import Services
from core.types.base import Value
from core.types.run import Event, RunStatus

POLL_S = 0.4
SETTLE = timedelta(seconds=0.3)
LAST_WORDS_S = 1.0
BATCH = 200


class EventPage(Value):
    """Events after a number, oldest first; `next` is the number to ask after next."""

    items: tuple[Event, ...]
    next: int


@dataclass(frozen=True)
class Heartbeat:
    """Nothing happened for a while; the reader is still connected."""


@dataclass(frozen=True)
class Ended:
    """The run has ended and every event was given."""

    status: RunStatus


async def event_page(services: Services, run_id: str, after: int, limit: int) -> EventPage:
    """Return a page of events; raise NotFoundError when there is no such run."""
    await services.runs.get(run_id)
    items = tuple(_settled(await services.journal.events(run_id, after, limit)))
    return EventPage(items=items, next=items[-1].id if items else after)


async def follow(
    services: Services, run_id: str, after: int, *, heartbeat_s: float = 10.0
) -> AsyncIterator[Event | Heartbeat | Ended]:
    """Yield events after a number as they come, heartbeats in silence, and last that the run has ended."""
    heard, ended_at = time.monotonic(), None
    while True:
        status = (await services.runs.get(run_id)).status
        batch = _settled(await services.journal.events(run_id, after, BATCH))
        for event in batch:
            yield event
            after, heard = event.id, time.monotonic()
        if len(batch) == BATCH:
            continue
        # The last event of a run may be written just after its status.
        ended_at = (ended_at or time.monotonic()) if status.terminal else None
        if ended_at is not None and time.monotonic() - ended_at > LAST_WORDS_S:
            yield Ended(status)
            return
        if time.monotonic() - heard > heartbeat_s:
            yield Heartbeat()
            heard = time.monotonic()
        await asyncio.sleep(POLL_S)


def _settled(events: Sequence[Event]) -> list[Event]:
    """Return the events up to the first that is too new."""
    limit = datetime.now(UTC) - SETTLE
    settled: list[Event] = []
    for event in events:
        if event.at > limit:
            break
        settled.append(event)
    return settled
