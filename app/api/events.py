"""A run's events: a JSON page, or a stream of server-sent events that a reader can resume."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.sse import format_sse_event

from app.api.problems import PROBLEM_RESPONSES
from app.api.requests import Use
from app.event_feed import Ended, EventPage, Heartbeat, event_page, follow
from app.service import Services

STREAM = "text/event-stream"
MAX_ID = 2**63 - 1

router = APIRouter(prefix="/v1/runs/{run_id}", tags=["events"], responses=PROBLEM_RESPONSES)


def _position(
    after: Annotated[int, Query(ge=0, le=MAX_ID)] = 0, last_event_id: Annotated[int, Header(ge=0, le=MAX_ID)] = 0
) -> int:
    """Return the number after which to read: the parameter's, or that of the last event before a lost connection."""
    return max(after, last_event_id)


@router.get("/events", response_model=EventPage, responses={200: {"content": {STREAM: {}}}})
async def read_events(
    use: Use,
    run_id: str,
    request: Request,
    after: Annotated[int, Depends(_position)],
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> Response:
    """Return events after a number, or stream them for `Accept: text/event-stream`."""
    if STREAM not in request.headers.get("accept", ""):
        return JSONResponse((await event_page(use, run_id, after, limit)).model_dump(mode="json"))
    await use.runs.get(run_id)
    return StreamingResponse(_stream(use, run_id, after), media_type=STREAM, headers={"X-Accel-Buffering": "no"})


async def _stream(use: Services, run_id: str, after: int) -> AsyncIterator[bytes]:
    """Yield server-sent events. A closed connection cancels the generator at its next await."""
    yield format_sse_event(retry=2000, comment="events of a run; 'end' is the last")
    async for item in follow(use, run_id, after, heartbeat_s=use.settings.heartbeat_s * 5):
        match item:
            case Heartbeat():
                yield format_sse_event(comment="still here")
            case Ended(status):
                yield format_sse_event(event="end", data_str=f'{{"status": "{status.value}"}}')
            case event:
                yield format_sse_event(id=str(event.id), event="message", data_str=event.model_dump_json())
