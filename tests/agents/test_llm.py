import asyncio
import logging
import time
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from agents.budget import LlmBudget
from agents.decision import PolicyBrain, Question
from agents.llm import ModelBrain, make_brain
from agents.provider import LlmSettings
from core.types.transcript import Decider, Transcript
from tests.fakes.journal import MemoryJournal
from tests.fakes.openai_server import (
    ChatRequest,
    FakeOpenAI,
    Reply,
    Script,
    answer,
    by_decision,
    failure,
    hang,
    not_json,
    rate_limited,
    text,
    tool_call,
    truncated,
)


class Pick(BaseModel):
    name: str


GOOD = answer({"name": "ties"})


def question(**rest: Any) -> Question[Pick]:
    def known(pick: Pick) -> list[str]:
        return [] if pick.name in {"ties", "dare"} else [f"name: {pick.name} is unknown; take ties or dare"]

    return Question(
        "experiment", "pick a method", "You pick.", "Which?", Pick, lambda: Pick(name="dare"), known, **rest
    )


def settings(server: FakeOpenAI, **rest: Any) -> LlmSettings:
    fast = {"timeout_s": 2.0, "max_retries": 2, "prompt_usd_per_million": 1.0, "completion_usd_per_million": 10.0}
    return LlmSettings(
        base_url=server.base_url, model="scripted", api_key=SecretStr(server.api_key), **{**fast, **rest}
    )


async def ask(script: Script, budget: LlmBudget | None = None, **rest: Any) -> tuple[Pick, Transcript, FakeOpenAI]:
    journal = MemoryJournal()
    with FakeOpenAI(script) as server:
        brain = ModelBrain(settings(server, **rest), journal, budget or LlmBudget())
        try:
            got = await brain.decide(question())
        finally:
            await brain.aclose()
    assert server.api_key not in journal.everything()
    (transcript,) = journal.transcripts
    assert transcript.outcome == got.model_dump()
    return got, transcript, server


@pytest.mark.parametrize(
    "reply", [GOOD, answer({"name": "ties"}, fenced=True), text('<think>{"x"</think>{"name":"ties"}')]
)
async def test_a_typed_answer(reply: Reply) -> None:
    got, transcript, server = await ask([reply])
    assert got.name == "ties"
    assert (transcript.decider, transcript.model, transcript.errors) == (Decider.MODEL, "scripted", ())
    assert [m.role for m in transcript.messages] == ["system", "user", "assistant"]
    assert transcript.usage.cost_usd == pytest.approx(300e-6)
    assert (transcript.usage.prompt_tokens, transcript.usage.completion_tokens, transcript.usage.calls) == (100, 20, 1)
    assert server.requests[0].body["response_format"] == {"type": "json_object"}
    assert server.requests[0].body["max_tokens"] == 4096
    assert server.requests[0].decision == "pick a method"


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (text('{"name": "ti'), "not valid JSON"),
        (text("I would take ties."), "no JSON object"),
        (answer({"method": "ties"}), "name: Field required"),
        (answer({"name": "magic"}), "magic is unknown"),
        (truncated('{"name": "ties"}'), "cut off at 4096 tokens"),
        (tool_call("pick", {"name": "ties"}), "no JSON object"),
    ],
)
async def test_bad_output_is_repaired(bad: Reply, complaint: str) -> None:
    got, transcript, server = await ask([bad, GOOD])
    assert got.name == "ties"
    assert transcript.decider is Decider.REPAIRED
    assert complaint in transcript.errors[0]
    assert complaint in server.requests[1].last
    assert transcript.usage.calls == 2
    assert [m.role for m in transcript.messages] == ["system", "user", "assistant", "user", "assistant"]


async def test_repair_is_bounded_and_falls_back() -> None:
    got, transcript, server = await ask([answer({"name": f"bad{i}"}) for i in range(9)], max_repairs=2)
    assert got.name == "dare"
    assert transcript.decider is Decider.FALLBACK
    assert len(server.requests) == len(transcript.errors) == 3
    assert transcript.messages[-1].role == "assistant"
    assert "no usable answer in 3 attempts" in transcript.reason


@pytest.mark.parametrize("bad", [failure(500), failure(503), hang(3.0), rate_limited(0.05)])
async def test_failures_are_retried(bad: Reply) -> None:
    got, transcript, server = await ask([bad, GOOD], timeout_s=0.5)
    assert got.name == "ties"
    assert transcript.decider is Decider.MODEL
    assert len(server.requests) == 2


async def test_retry_after_is_honored() -> None:
    started = time.monotonic()
    await ask([rate_limited(1.3), GOOD])
    assert time.monotonic() - started >= 1.3


@pytest.mark.parametrize("bad", [failure(500), failure(401, "no"), not_json()])
async def test_a_failing_provider_is_a_fallback(bad: Reply) -> None:
    got, transcript, _ = await ask(lambda _: bad, max_retries=1)
    assert got.name == "dare"
    assert transcript.decider is Decider.FALLBACK
    assert transcript.errors
    assert "The provider failed" in transcript.reason


async def test_json_mode_is_given_up_where_refused() -> None:
    def picky(request: ChatRequest) -> Reply:
        return failure(400, "response_format is not supported") if "response_format" in request.body else GOOD

    _, transcript, server = await ask(picky)
    assert transcript.decider is Decider.MODEL
    assert len(server.requests) == 2


async def test_reasoning_is_kept() -> None:
    _, transcript, _ = await ask([answer({"name": "ties"}, reasoning="sign conflicts, so TIES")])
    assert transcript.messages[-1].reasoning == "sign conflicts, so TIES"


async def test_usage_is_estimated_where_the_provider_gives_none() -> None:
    _, transcript, _ = await ask([answer({"name": "ties"}, usage=False)])
    assert transcript.usage.prompt_tokens > 50
    assert transcript.usage.completion_tokens > 0


async def test_an_outage_is_not_waited_for_again_and_again() -> None:
    journal = MemoryJournal()
    with FakeOpenAI(lambda _: failure(500)) as server:
        brain = ModelBrain(settings(server, max_retries=0, outage_after=2), journal, LlmBudget())
        for _ in range(5):
            await brain.decide(question())
        await brain.aclose()
    assert len(server.requests) == 2
    assert {t.decider for t in journal.transcripts} == {Decider.FALLBACK}
    assert "left alone" in journal.transcripts[-1].errors[0]


async def test_an_exhausted_budget_means_the_policy() -> None:
    budget = LlmBudget(0.05)
    journal = MemoryJournal()
    with FakeOpenAI(lambda _: answer({"name": "ties"}, completion_tokens=1000)) as server:
        brain = ModelBrain(settings(server), journal, budget)
        for _ in range(8):
            await brain.decide(question())
        await brain.aclose()
    assert len(server.requests) == 1  # 0.0101 spent; the next might cost 0.041, and 0.0399 is left
    assert budget.spent.cost_usd <= 0.05
    assert [t.decider for t in journal.transcripts] == [Decider.MODEL] + [Decider.POLICY] * 7
    assert "budget of $0.0500 is used up" in journal.transcripts[-1].reason


async def test_the_budget_holds_with_many_questions_at_once() -> None:
    budget = LlmBudget(0.1)
    journal = MemoryJournal()
    with FakeOpenAI(lambda _: answer({"name": "ties"}, completion_tokens=4000).after(0.1)) as server:
        brain = ModelBrain(settings(server), journal, budget)
        await asyncio.gather(*(brain.decide(question()) for _ in range(10)))
        await brain.aclose()
    assert len(server.requests) == 2
    assert budget.spent.cost_usd <= 0.1


async def test_the_key_is_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    journal = MemoryJournal()
    secret = "sk-very-secret-value"
    with FakeOpenAI([answer({"name": secret, "why": secret}, reasoning=secret)]) as server:
        configured = settings(server, max_repairs=0).evolve(api_key=secret)
        brain = ModelBrain(configured, journal, LlmBudget())
        await brain.decide(question())  # refused with a 401 that repeats the key
        server.api_key = secret
        other = ModelBrain(configured, journal, LlmBudget())
        await other.decide(question())
        await brain.aclose()
        await other.aclose()
    assert server.requests[0].headers["authorization"] == f"Bearer {secret}"
    assert "[redacted key]" in journal.transcripts[0].errors[0]
    for where in (journal.everything(), repr(configured), configured.model_dump_json(), repr(vars(brain)), caplog.text):
        assert secret not in where


async def test_without_a_key_the_policies_decide() -> None:
    journal = MemoryJournal()
    brain = make_brain(LlmSettings(api_key=SecretStr(" ")), journal, LlmBudget())
    assert isinstance(brain, PolicyBrain)
    assert (await brain.decide(question())).name == "dare"
    assert brain.model is None


async def test_scripts_can_answer_by_decision() -> None:
    got, _, _ = await ask(by_decision({"pick a": GOOD}, default=failure(400)))
    assert got.name == "ties"
