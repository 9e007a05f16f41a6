import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
from pydantic import SecretStr

from agents.budget import LlmBudget
from agents.gateway import Gateway, Grant
from agents.provider import LlmSettings
from app.gateway import serving
from tests.fakes.journal import MemoryJournal
from tests.fakes.openai_server import FakeOpenAI, Reply, Script, failure, hang, rate_limited, text, tool_call

ASK: Any = [{"role": "user", "content": "hello?"}]


class Setup:
    def __init__(self, provider: FakeOpenAI, grant: Grant, address: str, gateway: Gateway) -> None:
        self.provider, self.grant, self.address, self.gateway = provider, grant, address, gateway
        self.journal: Any = grant.journal
        self.client = openai.AsyncOpenAI(base_url=f"http://{address}/gateway/v1", api_key=grant.token, max_retries=0)


@contextlib.asynccontextmanager
async def set_up(script: Script, limit: float | None = None, **rest: Any) -> AsyncIterator[Setup]:
    with FakeOpenAI(script) as provider:
        settings = LlmSettings(
            base_url=provider.base_url,
            model="deepseek-chat",
            api_key=SecretStr(provider.api_key),
            timeout_s=2,
            max_output_tokens=1000,
            prompt_usd_per_million=1,
            completion_usd_per_million=10,
        )
        async with httpx.AsyncClient() as http:
            gateway = Gateway(settings, http)
            grant = Grant("work-1", (LlmBudget(limit),), MemoryJournal(), **rest)
            gateway.admit(grant)
            async with serving(gateway) as address:
                made = Setup(provider, grant, address, gateway)
                yield made
                await made.client.close()
        assert provider.api_key not in made.journal.everything()
        assert grant.token not in made.journal.everything() + repr(grant)


async def test_a_call_is_forwarded_paid_and_recorded() -> None:
    async with set_up([text("hi", reasoning="polite")]) as s:
        got = await s.client.chat.completions.create(model="gpt-of-my-choice", messages=ASK, max_tokens=10**6, n=3)
    assert got.choices[0].message.content == "hi"
    sent = s.provider.requests[0]
    assert (sent.body["model"], sent.body["max_tokens"], "n" in sent.body) == ("deepseek-chat", 1000, False)
    assert sent.headers["authorization"] == f"Bearer {s.provider.api_key}"
    (transcript,) = s.journal.transcripts
    assert [m.content for m in transcript.messages] == ["hello?", "hi"]
    assert transcript.messages[1].reasoning == "polite"
    assert transcript.usage.cost_usd == s.grant.budgets[0].spent.cost_usd == pytest.approx(300e-6)


async def test_streams_pass_through_piece_by_piece() -> None:
    said = "a long answer in many small pieces, " * 5
    async with set_up([text(said, reasoning="hm")]) as s:
        stream = await s.client.chat.completions.create(model="m", messages=ASK, stream=True)
        pieces = [c.choices[0].delta.content async for c in stream if c.choices and c.choices[0].delta.content]
    assert len(pieces) > 5
    assert "".join(pieces) == said
    (transcript,) = s.journal.transcripts
    assert (transcript.messages[-1].content, transcript.messages[-1].reasoning) == (said, "hm")
    assert transcript.usage.completion_tokens == 20


@pytest.mark.parametrize("stream", [False, True])
async def test_tool_calls_are_recorded(stream: bool) -> None:
    async with set_up([tool_call("terminal", {"command": "ls"})]) as s:
        got = await s.client.chat.completions.create(model="m", messages=ASK, stream=stream)
        if stream:
            _ = [c async for c in got]
    (call,) = s.journal.transcripts[0].messages[-1].tool_calls
    assert "terminal" in json.dumps(call)
    assert "ls" in json.dumps(call)


async def test_past_its_budget_the_agent_is_told_and_the_provider_not_asked() -> None:
    async with set_up(lambda _: text("x", completion_tokens=900), limit=0.02) as s:
        for _ in range(5):
            with contextlib.suppress(openai.APIStatusError):
                await s.client.chat.completions.create(model="m", messages=ASK)
        with pytest.raises(openai.APIStatusError, match=r"used up.*Hand in what you have") as caught:
            await s.client.chat.completions.create(model="m", messages=ASK)
    assert caught.value.status_code == 402
    assert len(s.provider.requests) == 2
    assert s.grant.budgets[0].spent.cost_usd <= 0.02
    assert s.grant.refused


async def test_calls_are_counted() -> None:
    async with set_up(lambda _: text("x"), max_calls=2) as s:
        for _ in range(2):
            await s.client.chat.completions.create(model="m", messages=ASK)
        with pytest.raises(openai.APIStatusError, match="All 2 model calls"):
            await s.client.chat.completions.create(model="m", messages=ASK)


@pytest.mark.parametrize(
    ("reply", "status"), [(failure(500), 500), (rate_limited(7), 429), (failure(401, "key sk-x"), 401), (hang(4), 502)]
)
async def test_failures_of_the_provider_are_passed_on(reply: Reply, status: int) -> None:
    async with set_up([reply, text("fine")]) as s:
        with pytest.raises(openai.APIStatusError) as caught:
            await s.client.chat.completions.create(model="m", messages=ASK)
        assert caught.value.status_code == status
        assert caught.value.response.headers.get("retry-after") == ("7" if status == 429 else None)
        assert "sk-x" not in str(caught.value)
        assert s.grant.spent.cost_usd == 0
        assert (await s.client.chat.completions.create(model="m", messages=ASK)).choices[0].message.content == "fine"
    assert s.grant.budgets[0].remaining_usd is None


async def test_a_client_that_leaves_still_pays() -> None:
    async with set_up([text("x" * 500_000, usage=False)]) as s:
        stream = await s.client.chat.completions.create(model="m", messages=ASK, stream=True)
        async for _ in stream:
            break
        await stream.close()
        for _ in range(100):
            if s.journal.transcripts:
                break
            await asyncio.sleep(0.05)
    (transcript,) = s.journal.transcripts
    assert transcript.usage.cost_usd > 0
    assert s.grant.spent == transcript.usage


async def test_tokens() -> None:
    async with set_up(lambda _: text("x")) as s:
        url = f"http://{s.address}/gateway/v1"
        body = {"messages": ASK}
        async with httpx.AsyncClient() as http:
            for head in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Bearer {s.provider.api_key}"}):
                assert (await http.post(f"{url}/chat/completions", json=body, headers=head)).status_code == 401
                assert (await http.get(f"{url}/models", headers=head)).status_code == 401
            mine = {"Authorization": f"Bearer {s.grant.token}"}
            assert (await http.get(f"{url}/models", headers=mine)).json()["data"][0]["id"] == "deepseek-chat"
            for bad in (b"{", b"[]", b'{"messages": []}', b'{"messages": [1]}', b'{"messages": [{"role": "root"}]}'):
                assert (await http.post(f"{url}/chat/completions", content=bad, headers=mine)).status_code == 400
            s.gateway.dismiss(s.grant)
            assert (await http.post(f"{url}/chat/completions", json=body, headers=mine)).status_code == 401
    assert not s.provider.requests


async def test_a_conversation_is_recorded_once() -> None:
    async with set_up(lambda _: text("ok")) as s:
        talk = list(ASK)
        for i in range(3):
            await s.client.chat.completions.create(model="m", messages=talk)
            talk += [{"role": "assistant", "content": "ok"}, {"role": "user", "content": f"more {i}"}]
    assert [len(t.messages) for t in s.journal.transcripts] == [2, 3, 3]
    assert "The first 1 messages" in s.journal.transcripts[1].reason
