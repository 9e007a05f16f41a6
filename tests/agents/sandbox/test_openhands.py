"""OpenHands in a real sandbox, with a scripted model behind the real gateway."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from agents.budget import LlmBudget
from agents.gateway import Gateway, Grant
from agents.provider import LlmSettings
from agents.sandbox.bubblewrap import BubblewrapTier
from agents.sandbox.openhands import AGENT_PORT, Ended, Job, agent_server, converse, sandbox_token
from agents.sandbox.port import Limits, Sandbox, SandboxSpec, download
from app.gateway import serving
from tests.conftest import ROOT
from tests.fakes.journal import MemoryJournal
from tests.fakes.openai_server import FakeOpenAI, Script, tool_call

pytestmark = pytest.mark.slow
AGENT_PYTHON = ROOT / ".state" / "agent-server" / "bin" / "python"
KEY = "sk-the-providers-own-key-91c4"


@pytest.fixture
async def tier(tmp_path: Path) -> BubblewrapTier:
    if not AGENT_PYTHON.exists():
        pytest.skip("OPENHANDS IS NOT TESTED HERE: its environment is missing; run `make sandbox-env`")
    made = BubblewrapTier(tmp_path / "sandboxes", AGENT_PYTHON)
    problem = await made.problem()
    if problem:
        pytest.skip(f"OPENHANDS IS NOT TESTED HERE: {problem}")
    return made


@contextlib.asynccontextmanager
async def gateway(provider: FakeOpenAI) -> AsyncIterator[tuple[Gateway, str]]:
    settings = LlmSettings(base_url=provider.base_url, api_key=SecretStr(provider.api_key), max_output_tokens=500)
    async with httpx.AsyncClient() as http:
        made = Gateway(settings, http)
        async with serving(made) as address:
            yield made, address


def shell(command: str) -> object:
    return tool_call("terminal", {"command": command})


async def converse_once(
    tier: BubblewrapTier, script: Script, journal: MemoryJournal, *, close: bool = True, **job: object
) -> tuple[object, Sandbox, Grant]:
    with FakeOpenAI(script, api_key=KEY) as provider:
        async with gateway(provider) as (made, address):
            sandbox = await tier.start(
                SandboxSpec(
                    id="work-1", gateway=address, agent_port=AGENT_PORT, limits=Limits(memory_mb=3072), persistent=True
                )
            )
            grant = Grant("work-1", (LlmBudget(1.0),), journal, token=sandbox_token(sandbox))
            made.admit(grant)
            try:
                async with agent_server(sandbox) as client:
                    ended = await converse(client, sandbox, Job(task="work", model=made.model, **job), journal)
            finally:
                if close:
                    await sandbox.close(delete=False)
    return ended, sandbox, grant


async def test_a_paused_conversation_goes_on_after_everything_died(tier: BubblewrapTier, tmp_path: Path) -> None:
    code = RESUMED.format(root=str(tmp_path / "sandboxes"), python=str(AGENT_PYTHON))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    first = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, env=environment
    )
    assert first.stdout
    assert (await asyncio.wait_for(first.stdout.readline(), 120)).strip() == b"two steps done"
    os.kill(first.pid, signal.SIGKILL)
    await first.wait()
    assert await tier.sweep() == ["work-1"]

    journal = MemoryJournal()
    script = [shell("cat one.txt two.txt > both.txt"), tool_call("finish", {"message": "all done"})]
    ended, sandbox, grant = await converse_once(tier, script, journal)
    assert ended.ended is Ended.FINISHED, journal.events
    assert download(sandbox, "task/both.txt") == b"1\n2\n"
    assert journal.events[0][0] == "sandbox.resumed"
    assert grant.spent.calls == 2
    await (await tier.start(sandbox.spec)).close()


async def test_time_iterations_and_budget_end_a_conversation(tier: BubblewrapTier) -> None:
    ended, sandbox, _ = await converse_once(tier, lambda _: shell("sleep 1"), MemoryJournal(), seconds=8.0, close=False)
    await sandbox.close()
    assert ended.ended in {Ended.TIME, Ended.STUCK}


RESUMED = """
import asyncio, pathlib
from agents.sandbox.bubblewrap import BubblewrapTier
from tests.agents.sandbox.test_openhands import converse_once, shell
from tests.fakes.journal import MemoryJournal

class Telling(MemoryJournal):
    async def event(self, kind, message, **rest):
        await super().event(kind, message, **rest)
        if [k for k, _, _ in self.events].count("sandbox.ObservationEvent") == 2:
            print("two steps done", flush=True)

async def main():
    tier = BubblewrapTier(pathlib.Path({root!r}), pathlib.Path({python!r}))
    script = [shell("echo 1 > one.txt"), shell("echo 2 > two.txt"), shell("sleep 60")]
    await converse_once(tier, script, Telling())

asyncio.run(main())
"""
