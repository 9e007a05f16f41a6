"""The tutorial's check of a sandbox: an agent writes hello_world.py, runs it, and "hello world" is read back.

Without a key the agent's model is a script of three answers; everything else is real.
"""

import json
import time
import uuid
from collections.abc import Mapping
from typing import Any

import httpx

from agents.budget import LlmBudget
from agents.gateway import Gateway, Grant
from agents.sandbox.openhands import AGENT_PORT, Conversed, Job, agent_server, converse, sandbox_token
from agents.sandbox.port import Limits, SandboxSpec, Tier, download, run
from core.errors import RunError
from core.ports import Journal
from core.types.base import Value

TASK = (
    "Write a Python program hello_world.py in the current directory that prints exactly 'hello world'. "
    "Run it once with python3, look at its output, then finish."
)
STEPS: tuple[Mapping[str, Any], ...] = (
    {"name": "terminal", "arguments": {"command": "printf 'print(\"hello world\")\\n' > hello_world.py"}},
    {"name": "terminal", "arguments": {"command": "python3 hello_world.py"}},
    {"name": "finish", "arguments": {"message": "hello_world.py prints hello world."}},
)


class SmokeFailedError(RunError):
    """The sandbox did not do the hello-world task."""

    code = "smoke_failed"


class Smoke(Value):
    """What the check saw."""

    tier: str
    model: str
    output: str
    conversed: Conversed
    seconds: float
    gone: bool


class HelloWorldModel(httpx.AsyncBaseTransport):
    """A provider that needs no network: it answers with the steps of the task, one a call."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer with the step that the conversation has come to."""
        messages = json.loads(await request.aread())["messages"]
        done = sum(m["role"] == "assistant" for m in messages)
        step = STEPS[min(done, len(STEPS) - 1)]
        call = {"name": step["name"], "arguments": json.dumps(step["arguments"])}
        message = {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": f"step-{done}", "type": "function", "function": call}],
        }
        return httpx.Response(
            200,
            json={
                "id": f"step-{done}",
                "object": "chat.completion",
                "created": int(time.time()),
                "model": "scripted",
                "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
                "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
            },
        )


async def smoke(tier: Tier, gateway: Gateway, address: str, journal: Journal) -> Smoke:
    """Do the hello-world task in a fresh sandbox; raise SmokeFailedError, saying where it went wrong."""
    started = time.monotonic()
    spec = SandboxSpec(
        id=f"smoke-{uuid.uuid4().hex[:8]}", limits=Limits(memory_mb=3072), gateway=address, agent_port=AGENT_PORT
    )
    sandbox = await tier.start(spec)
    grant = Grant(spec.id, (LlmBudget(0.5),), journal, max_calls=20, token=sandbox_token(sandbox))
    gateway.admit(grant)
    try:
        async with agent_server(sandbox) as client:
            job = Job(task=TASK, model=gateway.model, max_iterations=15, seconds=300)
            conversed = await converse(client, sandbox, job, journal)
        download(sandbox, "task/hello_world.py")
        output = (await run(sandbox, ["python3", "task/hello_world.py"], seconds=30)).stdout
    finally:
        gateway.dismiss(grant)
        await sandbox.close()
    if output.strip().lower() != "hello world":
        raise SmokeFailedError(f"hello_world.py printed {output[:200]!r}; the agent {conversed.ended}.")
    return Smoke(
        tier=tier.name,
        model=gateway.model,
        output=output,
        conversed=conversed,
        seconds=time.monotonic() - started,
        gone=not sandbox.workspace.exists(),
    )
