"""The LLM gateway: what sandboxes reach in place of the provider. It holds the key; they hold a token each.

A request is cut down to known fields, sent to the configured model alone, paid from the run's budget, and written to
the transcript with its answer. Logic only: the routes are in app/gateway.py. It does not judge what an agent asks.
"""

import hashlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx

from agents.budget import LlmBudget, add_usage
from agents.provider import LlmSettings, estimated_tokens
from agents.stream import Collected
from core.errors import BudgetExceededError, InvalidInputError, RunError, SourceError, UnauthorizedError
from core.ports import Journal
from core.types.transcript import Decider, Message, Transcript, Usage

PASSED_ON = frozenset(
    {"messages", "tools", "tool_choice", "temperature", "top_p", "stop", "response_format", "seed"}
    | {"presence_penalty", "frequency_penalty", "parallel_tool_calls", "reasoning_effort", "thinking", "stream"}
)
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}


class CallsExceededError(RunError):
    """This agent has made as many model calls as it may."""

    code = "calls_exceeded"


@dataclass
class Grant:
    """What one sandbox may ask for, and what it has asked. All budgets are charged; the tightest one decides."""

    sandbox_id: str
    budgets: Sequence[LlmBudget]
    journal: Journal
    max_calls: int = 500
    token: str = field(default_factory=lambda: f"sandbox-{secrets.token_urlsafe(32)}", repr=False)
    spent: Usage = field(default_factory=Usage)
    refused: str | None = None
    seen: list[str] = field(default_factory=list, repr=False)
    transcripts: list[int] = field(default_factory=list)
    settled: Callable[["Grant"], None] = field(default=lambda _: None, repr=False)
    """Called after each call is paid and recorded, so that the account can be kept where a kill does not reach it."""


@dataclass(frozen=True)
class Answer:
    """What goes back to the sandbox."""

    status: int
    headers: Mapping[str, str]
    body: AsyncIterator[bytes]


class Gateway:
    """Forwards the calls of all sandboxes of this process to one provider."""

    def __init__(self, settings: LlmSettings, http: httpx.AsyncClient) -> None:
        self._settings = settings
        self._http = http
        self._grants: dict[str, Grant] = {}

    @property
    def model(self) -> str:
        """Return the only model that is asked."""
        return self._settings.model

    def admit(self, grant: Grant) -> str:
        """Let a sandbox in and return its token."""
        self._grants[_digest(grant.token)] = grant
        return grant.token

    def dismiss(self, grant: Grant) -> None:
        """Make a token worthless."""
        self._grants.pop(_digest(grant.token), None)

    def identify(self, token: str) -> Grant:
        """Return whose token it is; raise UnauthorizedError."""
        grant = self._grants.get(_digest(token))
        if grant is None:
            raise UnauthorizedError("This token opens no gateway, or does no more.")
        return grant

    async def complete(self, token: str, body: object) -> Answer:
        """Forward one chat completion.

        Raises UnauthorizedError, InvalidInputError, BudgetExceededError or CallsExceededError (the agent is told), and
        SourceError when the provider can't be reached.
        """
        grant = self.identify(token)
        payload = self._payload(body)
        if grant.spent.calls >= grant.max_calls:
            grant.refused = f"All {grant.max_calls} model calls are used up. Hand in what you have."
            raise CallsExceededError(grant.refused)
        held = ExitStack()
        worst = self._settings.worst_case(json.dumps(payload), payload["max_tokens"])
        try:
            for budget in grant.budgets:
                held.enter_context(budget.reserve(worst))
            response = await self._send(payload)
        except BudgetExceededError as error:
            held.close()
            grant.refused = f"{error.message} Hand in what you have."
            raise BudgetExceededError(grant.refused) from None
        except httpx.HTTPError as error:
            held.close()
            raise SourceError(f"The provider can't be reached: {type(error).__name__}.") from None
        call = _Call(self._settings, grant, payload, held)
        return Answer(response.status_code, _headers(response), call.pass_on(response))

    def _payload(self, body: object) -> dict[str, Any]:
        if not isinstance(body, dict) or not isinstance(body.get("messages"), list) or not body["messages"]:
            raise InvalidInputError("The body needs a list of messages.")
        if not all(isinstance(m, dict) and m.get("role") in ROLES for m in body["messages"]):
            raise InvalidInputError(f"Each message is an object with one of the roles {', '.join(ROLES)}.")
        most = self._settings.max_output_tokens
        asked = body.get("max_tokens") or body.get("max_completion_tokens") or most
        payload = {name: value for name, value in body.items() if name in PASSED_ON}
        payload["model"] = self._settings.model
        payload["max_tokens"] = min(asked, most) if isinstance(asked, int) and asked > 0 else most
        if payload.get("stream"):
            payload["stream_options"] = {"include_usage": True}
        return payload

    async def _send(self, payload: Mapping[str, Any]) -> httpx.Response:
        request = self._http.build_request(
            "POST",
            f"{self._settings.base_url}/chat/completions",
            json=payload,
            headers={"Authorization": f"Bearer {self._settings.secret}"},
            timeout=self._settings.timeout_s,
        )
        return await self._http.send(request, stream=True)


@dataclass
class _Call:
    """One call on its way back: passed on, collected, paid and recorded, however it ends."""

    settings: LlmSettings
    grant: Grant
    payload: Mapping[str, Any]
    held: ExitStack
    started: float = field(default_factory=time.monotonic)

    async def pass_on(self, response: httpx.Response) -> AsyncIterator[bytes]:
        """Yield the answer as it comes; errors of the provider are passed on without its key."""
        collected = Collected(streamed=bool(self.payload.get("stream")) and response.is_success)
        problem = "The agent did not wait for the end of the answer."
        try:
            if response.is_success:
                async for chunk in response.aiter_bytes():
                    collected.feed(chunk)
                    yield chunk
            else:
                await response.aread()
                text = self.settings.redact(response.text)
                problem = f"The provider answered {response.status_code}: {text[:500]}"
                yield _error(_told(response.status_code, text))
                return
            problem = ""
        except httpx.HTTPError as error:
            problem = f"The provider's answer broke off: {type(error).__name__}."
        finally:
            await response.aclose()
            await self._settle(collected, problem, paid=response.is_success)

    async def _settle(self, collected: Collected, problem: str, *, paid: bool) -> None:
        collected.finish()
        usage = Usage(calls=1, latency_s=time.monotonic() - self.started)
        if paid:
            tokens = collected.tokens or (
                estimated_tokens(json.dumps(self.payload)),
                estimated_tokens(collected.content + collected.reasoning + json.dumps(collected.tool_calls)),
            )
            usage = self.settings.usage(*tokens, latency_s=usage.latency_s)
        self.held.close()
        for budget in self.grant.budgets:
            budget.charge(usage)
        self.grant.spent = add_usage(self.grant.spent, usage)
        await self._record(collected, usage, problem)

    async def _record(self, collected: Collected, usage: Usage, problem: str) -> None:
        asked, repeated = self._new_messages()
        answer = Message(
            role="assistant",
            content=collected.content,
            reasoning=collected.reasoning or None,
            tool_calls=tuple(collected.tool_calls),
        )
        transcript = Transcript(
            agent="experiment",
            decision=f"{self.grant.sandbox_id}: model call {self.grant.spent.calls}",
            decider=Decider.MODEL,
            model=self.settings.model,
            messages=(*asked, answer),
            reason=f"The first {repeated} messages are those of the call before." if repeated else "",
            errors=(problem,) if problem else (),
            usage=usage,
        )
        number = await self.grant.journal.transcript(
            Transcript.model_validate_json(self.settings.redact(transcript.model_dump_json()))
        )
        self.grant.transcripts.append(number)
        self.grant.settled(self.grant)

    def _new_messages(self) -> tuple[list[Message], int]:
        """Return the messages that the call before did not have, and how many it had: transcripts stay linear."""
        messages = self.payload["messages"]
        marks = [_digest(json.dumps(m, sort_keys=True)) for m in messages]
        known = 0
        for old, new in zip(self.grant.seen, marks, strict=False):
            if old != new:
                break
            known += 1
        self.grant.seen = marks
        return [_message(m) for m in messages[known:]], known


def _message(raw: Mapping[str, Any]) -> Message:
    content = raw.get("content")
    calls = raw.get("tool_calls")
    return Message.model_validate(
        {
            "role": ROLES[raw["role"]],
            "content": content if isinstance(content, str) else json.dumps(content) if content else "",
            "reasoning": str(raw["reasoning_content"]) if raw.get("reasoning_content") else None,
            "tool_calls": tuple(c for c in calls if isinstance(c, dict)) if isinstance(calls, list) else (),
        }
    )


def _headers(response: httpx.Response) -> dict[str, str]:
    kept = {name: response.headers[name] for name in ("content-type", "retry-after") if name in response.headers}
    return kept if response.is_success else {**kept, "content-type": "application/json"}


def _told(status: int, text: str) -> str:
    if status in {401, 403}:
        return "The provider refused the service, not you; the operator must look at it."
    return f"The provider answered {status}: {text[:500]}"


def _error(message: str) -> bytes:
    return json.dumps({"error": {"message": message, "type": "gateway_error"}}).encode()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
