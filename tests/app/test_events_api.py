"""Events: JSON pages and a stream that can be resumed and that ends with the run."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.event_feed import SETTLE
from core.types.run import RunStatus
from tests.app.conftest import Api
from tests.app.sample import Sampled

SSE = {"Accept": "text/event-stream"}


async def settled() -> None:
    await asyncio.sleep(SETTLE.total_seconds() + 0.1)


async def blocks(lines: AsyncIterator[str]) -> AsyncIterator[dict[str, str]]:
    """Yield the fields of one server-sent event after another; a comment is the field ''."""
    fields: dict[str, str] = {}
    async for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
        elif fields:
            yield fields
            fields = {}


async def read_to_end(api: Api, run_id: str, **headers: str) -> list[dict[str, str]]:
    async with (
        asyncio.timeout(120),
        api.http.stream("GET", f"/v1/runs/{run_id}/events", headers={**SSE, **headers}) as response,
    ):
        assert response.headers["content-type"].startswith("text/event-stream")
        return [b async for b in blocks(response.aiter_lines())]


def ids(found: list[dict[str, str]]) -> list[int]:
    return [int(b["id"]) for b in found if "id" in b]


async def test_pages_go_on_where_the_last_ended(api: Api, sampled: Sampled) -> None:
    await settled()
    address = f"/v1/runs/{sampled.run.id}/events"
    first = (await api.http.get(address, params={"limit": 2})).json()
    rest = (await api.http.get(address, params={"after": first["next"]})).json()
    assert [e["kind"] for e in first["items"] + rest["items"]] == ["survey.step", "experiment.step", "optimize.step"]
    empty = (await api.http.get(address, params={"after": rest["next"]})).json()
    assert empty == {"items": [], "next": rest["next"]}


@pytest.mark.parametrize("parameters", [{"after": -1}, {"limit": 5000}, {"after": "x"}, {"after": 2**63}])
async def test_positions_are_checked(api: Api, sampled: Sampled, parameters: dict[str, Any]) -> None:
    response = await api.http.get(f"/v1/runs/{sampled.run.id}/events", params=parameters)
    assert response.status_code == 422


async def test_an_unknown_run_has_no_events(api: Api) -> None:
    for headers in ({}, SSE):
        response = await api.http.get("/v1/runs/run-none/events", headers=headers)
        assert response.status_code == 404
        assert response.headers["content-type"] == "application/problem+json"


async def test_a_stream_gives_all_and_ends_with_the_run(api: Api, sampled: Sampled) -> None:
    reading = asyncio.create_task(read_to_end(api, sampled.run.id))
    await settled()
    await sampled.journal.event("late", "while the reader listens")
    await sampled.runs.finish(sampled.run.id, RunStatus.SUCCEEDED)
    await sampled.journal.event("run.succeeded", "written after the status")
    found = await reading
    messages = [json.loads(b["data"])["kind"] for b in found if b.get("event") == "message"]
    assert messages == ["survey.step", "experiment.step", "optimize.step", "late", "run.succeeded"]
    assert found[-1] == {"event": "end", "data": '{"status": "succeeded"}'}
    assert ids(found) == sorted(ids(found))


async def test_a_lost_connection_is_taken_up_where_it_broke(api: Api, sampled: Sampled) -> None:
    async with api.http.stream("GET", f"/v1/runs/{sampled.run.id}/events", headers=SSE) as response:
        async for block in blocks(response.aiter_lines()):
            if "id" in block:
                break
    await sampled.runs.finish(sampled.run.id, RunStatus.FAILED, "why")
    rest = await read_to_end(api, sampled.run.id, **{"Last-Event-ID": block["id"]})
    assert len(ids(rest)) == 2
    assert min(ids(rest)) > int(block["id"])


async def test_silence_is_filled_with_heartbeats(api: Api, sampled: Sampled) -> None:
    async with asyncio.timeout(120):
        async with api.http.stream("GET", f"/v1/runs/{sampled.run.id}/events", headers=SSE) as response:
            async for block in blocks(response.aiter_lines()):
                if block.get("") == "still here":
                    return
    pytest.fail("the stream ended")


async def test_event_text_can_not_break_the_stream(api: Api, sampled: Sampled) -> None:
    await sampled.journal.event("odd", "a\n\nevent: end\ndata: forged\r\rid: 7")
    await sampled.runs.finish(sampled.run.id, RunStatus.SUCCEEDED)
    found = await read_to_end(api, sampled.run.id)
    assert [b["data"] for b in found if b.get("event") == "end"] == ['{"status": "succeeded"}']
    assert any(json.loads(b["data"])["message"].startswith("a\n\nevent") for b in found if b.get("event") == "message")
