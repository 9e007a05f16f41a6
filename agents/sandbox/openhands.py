"""OpenHands in a sandbox: its agent server runs inside, and we hold a conversation with it over its HTTP API.

The server keeps its state in a folder of the workspace apart from the task's, so a conversation survives the death of
the server and of this process: `converse` finds it by the sandbox's id and goes on. Every event goes to the journal as
it comes. What the agent says about itself is hostile text: the outcome tells how it ended, not whether it did well.
"""

import asyncio
import hashlib
import json
import secrets
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from enum import StrEnum
from typing import Any

import httpx
from pydantic import Field

from agents.sandbox.openhands_events import QUIET, bounded, read_mark, words_of, write_whole
from agents.sandbox.port import GATEWAY_PORT, WORKSPACE, Exit, Sandbox, SandboxLostError, make_folder, place
from core.ports import Journal
from core.types.base import Value
from core.types.run import Stage

AGENT_PORT = 8200
TASK_FOLDER = f"{WORKSPACE}/task"
STATE_FOLDER = f"{WORKSPACE}/.agent"
TOOLS = ("terminal", "file_editor")
POLL_S = 0.3
START_S = 300.0
MOVING_S = 20.0


class Ended(StrEnum):
    """How a conversation came to rest."""

    FINISHED = "finished"
    ERROR = "error"
    STUCK = "stuck"
    PAUSED = "paused"
    TIME = "time"


class Conversed(Value):
    """How a conversation ended, the agent's last words, and how many events it has."""

    ended: Ended
    message: str = ""
    events: int = 0


class Job(Value):
    """What the agent is asked, and how long it may take."""

    task: str = Field(min_length=1)
    model: str
    max_iterations: int = Field(60, ge=1)
    seconds: float = Field(3600.0, gt=0)
    title: str = "experiment agent"


def sandbox_token(sandbox: Sandbox) -> str:
    """Return the sandbox's own secret, made once: its gateway token, and what the server's keys derive from."""
    file = sandbox.private / "token"
    if not file.exists():
        write_whole(file, f"sandbox-{secrets.token_urlsafe(32)}")
    return file.read_text()


def conversation_id(sandbox: Sandbox) -> str:
    """Return the id of the sandbox's conversation, the same after a restart."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"research-agent:{sandbox.spec.id}"))


@asynccontextmanager
async def agent_server(sandbox: Sandbox, *, python: str = "python") -> AsyncIterator[httpx.AsyncClient]:
    """Run the agent server in a sandbox and give a client of it; raise SandboxLostError when it does not come up."""
    for folder in ("task", ".agent"):
        make_folder(sandbox.workspace, folder)
    # A killed server leaves its claim on the conversation; that no other runs is what our own lease is for.
    claim = f".agent/conversations/{uuid.UUID(conversation_id(sandbox)).hex}/owner_lease.json"
    place(sandbox.workspace, claim).unlink(missing_ok=True)
    log: list[str] = []
    server = asyncio.create_task(_serve(sandbox, python, log))
    key = _derived(sandbox, "session")
    try:
        async with httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(sandbox.agent_socket)),
            base_url="http://agent",
            headers={"X-Session-API-Key": key},
            timeout=60.0,
        ) as client:
            await _until_up(client, server, log)
            yield client
    finally:
        await sandbox.kill()
        await asyncio.gather(server, return_exceptions=True)


async def converse(
    client: httpx.AsyncClient, sandbox: Sandbox, job: Job, journal: Journal, stop: asyncio.Event | None = None
) -> Conversed:
    """Start the sandbox's conversation, or go on with it, and follow it to its end.

    `stop` pauses it (a used-up budget, a cancelled run); what it has done stays and can be gone on with.
    """
    talk = _Conversation(client, sandbox, journal)
    await talk.start(job)
    try:
        async with asyncio.timeout(job.seconds):
            ended = await talk.follow(stop or asyncio.Event())
    except TimeoutError:
        await talk.pause()
        ended = Ended.TIME
    await talk.store_events()
    return Conversed(ended=ended, message=talk.last_words, events=talk.events)


class OpenHandsDriver:
    """Lets OpenHands do a job in a sandbox."""

    async def work(self, sandbox: Sandbox, job: Job, journal: Journal, stop: asyncio.Event) -> Conversed:
        """Run the agent server for as long as the conversation takes."""
        async with agent_server(sandbox) as client:
            return await converse(client, sandbox, job, journal, stop)


class _Conversation:
    """One conversation, seen through the server's API."""

    def __init__(self, client: httpx.AsyncClient, sandbox: Sandbox, journal: Journal) -> None:
        self._client, self._sandbox, self._journal = client, sandbox, journal
        self._url = f"/api/conversations/{conversation_id(sandbox)}"
        self._mark = sandbox.private / "stored.json"
        self._since, self._stored = read_mark(self._mark)
        self.last_words = ""

    @property
    def events(self) -> int:
        """Return how many events are stored."""
        return len(self._stored)

    async def start(self, job: Job) -> None:
        known = await self._sent(self._client.build_request("GET", self._url))
        if known.status_code == httpx.codes.NOT_FOUND:
            await self._post("/api/conversations", _request(self._sandbox, job))
            return
        status = known.raise_for_status().json()["execution_status"]
        note = f"Going on with a conversation that was {status}."
        await self._journal.event("sandbox.resumed", note, sandbox=self._sandbox.spec.id)
        if status not in {Ended.FINISHED, Ended.STUCK}:
            answer = await self._sent(self._client.build_request("POST", f"{self._url}/run"))
            if answer.status_code != httpx.codes.CONFLICT:
                answer.raise_for_status()
            await self._until_moving(status)

    async def _until_moving(self, before: str) -> None:
        """Wait until the status of before the restart is gone, which would be taken for the end."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + MOVING_S
        while loop.time() < deadline and (await self._get(self._url))["execution_status"] == before:
            await asyncio.sleep(POLL_S / 3)

    async def follow(self, stop: asyncio.Event) -> Ended:
        while True:
            await self.store_events()
            status = (await self._get(self._url))["execution_status"]
            if status in set(Ended):
                return Ended(status)
            if stop.is_set():
                await self.pause()
                return Ended.PAUSED
            await asyncio.sleep(POLL_S)

    async def pause(self) -> None:
        await self._post(f"{self._url}/interrupt", {})

    async def store_events(self) -> None:
        """Write the events since the last look to the journal, each once."""
        page: str | None = None
        while True:
            query = {"limit": 100, **({"page_id": page} if page else {})}
            if self._since:
                query["timestamp__gte"] = self._since
            answer = await self._get(f"{self._url}/events/search", query)
            for event in answer["items"]:
                await self._store(event)
            page = answer.get("next_page_id")
            if page is None:
                break
        write_whole(self._mark, json.dumps({"since": self._since, "stored": sorted(self._stored)}))

    async def _store(self, event: Mapping[str, Any]) -> None:
        if event["id"] in self._stored:
            return
        self._stored.add(event["id"])
        self._since = str(event["timestamp"])
        words = words_of(event)
        if event.get("source") == "agent" and words:
            self.last_words = words
        if event["kind"] not in QUIET:
            await self._journal.event(
                f"sandbox.{event['kind']}",
                f"{event.get('tool_name') or event.get('source')}: {words[:300]}",
                stage=Stage.EXPERIMENT,
                sandbox=self._sandbox.spec.id,
                event=bounded(event),
            )

    async def _get(self, url: str, query: Mapping[str, Any] | None = None) -> Any:
        return await self._checked(self._client.build_request("GET", url, params=query))

    async def _post(self, url: str, body: Mapping[str, Any]) -> Any:
        return await self._checked(self._client.build_request("POST", url, json=body))

    async def _sent(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._client.send(request)
        except httpx.HTTPError as error:
            raise SandboxLostError(f"The agent server does not answer: {type(error).__name__}.") from error

    async def _checked(self, request: httpx.Request) -> Any:
        answer = await self._sent(request)
        if answer.is_error:
            raise SandboxLostError(f"The agent server refused {request.url.path}: {answer.text[:500]}")
        return answer.json()


def _request(sandbox: Sandbox, job: Job) -> dict[str, Any]:
    llm = {
        "model": f"openai/{job.model}",
        "base_url": f"http://127.0.0.1:{GATEWAY_PORT}/gateway/v1",
        "api_key": sandbox_token(sandbox),
        "usage_id": "agent",
        "num_retries": 3,
        "reasoning_effort": None,
    }
    return {
        "conversation_id": conversation_id(sandbox),
        "agent": {"kind": "Agent", "llm": llm, "tools": [{"name": tool} for tool in TOOLS]},
        "workspace": {"kind": "LocalWorkspace", "working_dir": TASK_FOLDER},
        "max_iterations": job.max_iterations,
        "autotitle": False,
        "initial_message": {"role": "user", "content": [{"type": "text", "text": job.task}], "run": True},
    }


async def _serve(sandbox: Sandbox, python: str, log: list[str]) -> Exit | None:
    environment = {
        "OH_SESSION_API_KEYS_0": _derived(sandbox, "session"),
        "OH_SECRET_KEY": _derived(sandbox, "secret"),
        "OH_ENABLE_VSCODE": "false",
        "OH_PRELOAD_TOOLS": "false",
        "OH_CONVERSATIONS_PATH": f"{STATE_FOLDER}/conversations",
        "OH_BASH_EVENTS_DIR": f"{STATE_FOLDER}/bash",
        "OH_WORKSPACE_PATH": TASK_FOLDER,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "OPENHANDS_SUPPRESS_BANNER": "1",
        "HOME": STATE_FOLDER,
    }
    start = f"cd {STATE_FOLDER} && exec {python} -m openhands.agent_server --host 127.0.0.1 --port {AGENT_PORT}"
    async with aclosing(sandbox.stream(["sh", "-c", start], environment=environment)) as stream:
        async for piece in stream:
            if isinstance(piece, Exit):
                return piece
            log.append(piece.text)
            del log[: max(0, len(log) - 200)]
    return None


async def _until_up(client: httpx.AsyncClient, server: "asyncio.Task[Exit | None]", log: Sequence[str]) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + START_S
    while loop.time() < deadline and not server.done():
        try:
            if (await client.get("/health", timeout=5.0)).is_success:
                return
        except httpx.HTTPError:
            await asyncio.sleep(0.2)
    raise SandboxLostError(f"The agent server did not come up: {''.join(log)[-20_000:].strip() or 'no output'}")


def _derived(sandbox: Sandbox, purpose: str) -> str:
    return hashlib.sha256(f"{purpose}:{sandbox_token(sandbox)}".encode()).hexdigest()
