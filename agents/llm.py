"""A language model as a brain: asked for typed answers, repaired a bounded number of times, backed by the policy.

The only home of the provider's client. Every decision ends in an answer and a transcript that says who decided; no
failure of a model or its provider stops a run. It does not protect from a model that answers well-formed nonsense:
that is what a question's `check` and the code behind the decision are for.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatResult
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from agents.answer import instructions, repair_request, split_thinking, validated
from agents.budget import LlmBudget, add_usage
from agents.decision import Brain, PolicyBrain, Question
from agents.provider import LlmSettings, estimated_tokens
from core.errors import BudgetExceededError, ModelOutputError, SourceError
from core.ports import Journal
from core.types.transcript import Decider, Message, Transcript, Usage

MAX_RETRY_AFTER_S = 60.0


def make_brain(settings: LlmSettings, journal: Journal, budget: LlmBudget) -> Brain:
    """Return the brain that the settings allow: the model's with a key, else the policies' alone."""
    return ModelBrain(settings, journal, budget) if settings.api_key else PolicyBrain(journal)


@dataclass
class _Talk:
    """The conversation of one decision as it grows."""

    messages: list[Message]
    usage: Usage = field(default_factory=Usage)
    errors: list[str] = field(default_factory=list)

    def wire(self) -> list[BaseMessage]:
        kinds = {"system": SystemMessage, "user": HumanMessage, "assistant": AIMessage}
        return [kinds[m.role](content=m.content or "(nothing)") for m in self.messages]

    def text(self) -> str:
        return "\n".join(m.content for m in self.messages)


class ModelBrain:
    """Answers questions with a language model, and by their policies where it fails or its budget is used up."""

    def __init__(self, settings: LlmSettings, journal: Journal, budget: LlmBudget) -> None:
        self._settings = settings
        self._journal = journal
        self._budget = budget
        self._http = httpx.AsyncClient(timeout=settings.timeout_s)
        self._json_mode = settings.json_mode
        self._failures = 0
        self._silent_until = 0.0

    @property
    def model(self) -> str | None:
        """Return the language model's name."""
        return self._settings.model

    async def aclose(self) -> None:
        """Close the connections to the provider."""
        await self._http.aclose()

    async def decide[A: BaseModel](self, question: Question[A]) -> A:
        """Ask the model, repair what can't be used, fall back to the policy, and record which it was."""
        redact = self._settings.redact
        talk = _Talk(
            [
                Message(role="system", content=redact(instructions(question))),
                Message(role="user", content=redact(question.user)),
            ]
        )
        try:
            answer = await self._asked(question, talk)
            decider, reason = (Decider.REPAIRED if talk.errors else Decider.MODEL), ""
        except BudgetExceededError as error:
            answer = question.policy()
            decider = Decider.FALLBACK if talk.errors else Decider.POLICY
            reason = f"{error.message} {question.policy_reason}"
        except (SourceError, ModelOutputError) as error:
            answer = question.policy()
            decider, reason = Decider.FALLBACK, f"{redact(error.message)} {question.policy_reason}"
        await self._journal.transcript(
            Transcript(
                agent=question.agent,
                decision=question.decision,
                decider=decider,
                model=self.model,
                messages=tuple(talk.messages),
                outcome=answer.model_dump(mode="json"),
                reason=reason,
                errors=tuple(talk.errors),
                usage=talk.usage,
            )
        )
        return answer

    async def _asked[A: BaseModel](self, question: Question[A], talk: _Talk) -> A:
        for _ in range(self._settings.max_repairs + 1):
            reply = await self._call(talk)
            try:
                return self._read(question, reply, talk)
            except ModelOutputError as error:
                problem = self._settings.redact(error.message)
                talk.errors.append(problem)
                talk.messages.append(Message(role="user", content=repair_request(problem)))
        talk.messages.pop()  # the last repair was never sent
        raise ModelOutputError(f"The model gave no usable answer in {len(talk.errors)} attempts.")

    def _read[A: BaseModel](self, question: Question[A], reply: AIMessage, talk: _Talk) -> A:
        redact = self._settings.redact
        content, thinking = split_thinking(redact(reply.text))
        reasoning = redact(str(reply.additional_kwargs.get("reasoning_content") or "")) or thinking
        calls = tuple({"name": c["name"], "args": redact(str(c.get("args")))} for c in _tool_calls(reply))
        talk.messages.append(Message(role="assistant", content=content, reasoning=reasoning, tool_calls=calls))
        if reply.response_metadata.get("finish_reason") == "length":
            raise ModelOutputError(
                f"It was cut off at {self._settings.max_output_tokens} tokens. Give a shorter answer."
            )
        return validated(question, content)

    async def _call(self, talk: _Talk) -> AIMessage:
        if time.monotonic() < self._silent_until:
            raise self._failed(talk, "The provider failed several times in a row and is left alone for a while.")
        with self._budget.reserve(self._settings.worst_case(talk.text())):
            started = time.monotonic()
            try:
                reply = await self._send(talk.wire())
            except (openai.OpenAIError, httpx.HTTPError, TimeoutError, ValueError, TypeError, KeyError) as error:
                self._note_failure(permanent=isinstance(error, openai.AuthenticationError | openai.NotFoundError))
                raise self._failed(talk, f"The provider failed: {type(error).__name__}: {error}") from None
            self._failures = 0
            usage = self._usage(reply, talk, time.monotonic() - started)
            self._budget.charge(usage)
            talk.usage = add_usage(talk.usage, usage)
        return reply

    def _failed(self, talk: _Talk, text: str) -> SourceError:
        problem = self._settings.redact(text)[:2000]
        talk.errors.append(problem)
        return SourceError(problem)

    def _note_failure(self, *, permanent: bool) -> None:
        self._failures += 1
        if permanent or self._failures >= self._settings.outage_after:
            self._silent_until = time.monotonic() + self._settings.outage_s

    async def _send(self, messages: Sequence[BaseMessage]) -> AIMessage:
        # Bounds a provider that drips bytes or sends one long Retry-After after another.
        seconds = (self._settings.timeout_s + MAX_RETRY_AFTER_S) * (self._settings.max_retries + 1)
        async with asyncio.timeout(seconds):
            try:
                return await self._client().ainvoke(messages)
            except (openai.BadRequestError, openai.UnprocessableEntityError):
                if not self._json_mode:
                    raise
                self._json_mode = False
                return await self._client().ainvoke(messages)

    def _client(self) -> ChatOpenAI:
        settings = self._settings
        # In `extra_body`: the client would rename max_tokens to a field that only OpenAI's own API knows, and would
        # raise on a truncated answer when it sees response_format itself.
        body: dict[str, Any] = {"max_tokens": settings.max_output_tokens}
        if self._json_mode:
            body["response_format"] = {"type": "json_object"}
        return _ReasoningChat(
            model=settings.model,
            base_url=settings.base_url,
            api_key=settings.api_key,
            timeout=settings.timeout_s,
            max_retries=settings.max_retries,
            temperature=settings.temperature,
            http_async_client=self._http,
            extra_body=body,
        )

    def _usage(self, reply: AIMessage, talk: _Talk, seconds: float) -> Usage:
        counted = reply.usage_metadata
        prompt = counted["input_tokens"] if counted else estimated_tokens(talk.text())
        completion = counted["output_tokens"] if counted else estimated_tokens(reply.text)
        return self._settings.usage(prompt, completion, seconds)


class _ReasoningChat(ChatOpenAI):
    """The stock client, keeping the `reasoning_content` that it drops."""

    def _create_chat_result(
        self, response: dict[str, Any] | openai.BaseModel, generation_info: dict[str, Any] | None = None
    ) -> ChatResult:
        result = super()._create_chat_result(response, generation_info)
        raw = response if isinstance(response, dict) else response.model_dump(warnings=False)
        for generation, choice in zip(result.generations, raw["choices"], strict=True):
            reasoning = choice["message"].get("reasoning_content")
            if reasoning:
                generation.message.additional_kwargs["reasoning_content"] = reasoning
        return result


def _tool_calls(reply: AIMessage) -> Sequence[Any]:
    return (*reply.tool_calls, *reply.invalid_tool_calls)
