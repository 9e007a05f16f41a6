"""What agents said and did, in full."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from core.types.base import Value


class Decider(StrEnum):
    """Who made a decision. `FALLBACK`: a model was asked, failed after bounded repair, and the policy decided."""

    POLICY = "policy"
    MODEL = "model"
    REPAIRED = "repaired"
    FALLBACK = "fallback"


class Message(Value):
    """One message of a conversation, as sent or received, untruncated."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    reasoning: str | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()


class Usage(Value):
    """Tokens, US dollars and seconds of a conversation."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    latency_s: float = 0.0
    calls: int = 0


class Transcript(Value):
    """One agent decision with all that led to it: prompts, answers, repairs, the outcome and who decided."""

    agent: Literal["survey", "experiment", "optimizer", "report", "intake"]
    decision: str = Field(description="what was decided, e.g. 'classify works 1-20'")
    decider: Decider
    model: str | None = None
    messages: tuple[Message, ...] = ()
    outcome: Any = None
    reason: str = ""
    errors: tuple[str, ...] = ()
    usage: Usage = Usage()


class StoredTranscript(Transcript):
    """A transcript with its place in a run."""

    id: int
    run_id: str
    created_at: datetime
