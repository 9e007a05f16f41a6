"""Agent decisions: one question with a typed answer, and a deterministic policy that can always answer it.

A `Brain` answers questions. `PolicyBrain` uses the policy alone; the model-backed brain (agents/llm.py) asks a language
model first, repairs invalid output a bounded number of times and falls back to the policy. Either way the decision is
recorded as a transcript that says who decided. Nothing here knows a provider.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from pydantic import BaseModel

from core.ports import Journal
from core.types.transcript import Decider, Message, Transcript

AgentName = Literal["survey", "experiment", "optimizer", "report", "intake"]


def no_objection(_: BaseModel) -> Sequence[str]:
    """Return no problems: the form of the answer is all that is asked."""
    return ()


@dataclass(frozen=True)
class Question[A: BaseModel]:
    """One decision to make.

    `check` returns what is wrong with a well-formed answer (an unknown id, say); its messages are shown to the model.
    `user` may hold hostile text from papers and READMEs: it is data, and no answer is trusted beyond `check`.
    """

    agent: AgentName
    decision: str
    system: str
    user: str
    answer: type[A]
    policy: Callable[[], A]
    check: Callable[[A], Sequence[str]] = field(default=no_objection)
    policy_reason: str = "deterministic policy"


class Brain(Protocol):
    """What answers questions and records how."""

    @property
    def model(self) -> str | None:
        """Return the language model's name, or None where policies decide."""
        ...

    async def decide[A: BaseModel](self, question: Question[A]) -> A:
        """Answer a question, record the transcript, and return the answer."""
        ...


class PolicyBrain:
    """Answers every question by its policy: what a run without a model's key does."""

    model = None

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def decide[A: BaseModel](self, question: Question[A]) -> A:
        """Answer by the policy and record the decision with its reason."""
        answer = question.policy()
        await self._journal.transcript(
            Transcript(
                agent=question.agent,
                decision=question.decision,
                decider=Decider.POLICY,
                messages=(Message(role="user", content=question.user),),
                outcome=answer.model_dump(mode="json"),
                reason=question.policy_reason,
            )
        )
        return answer
