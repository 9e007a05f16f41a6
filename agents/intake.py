"""A Statement of Work that a colleague wrote as prose, read into its fields by a language model.

No policy can do this: without a model, or where its answers can't be used, the text is refused. What the model makes
of it is validated like any other SoW, and shown: it is the run's first transcript.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Never

from agents.budget import LlmBudget
from agents.decision import Question
from agents.llm import ModelBrain
from agents.provider import LlmSettings
from core.sow_reader import ProseOnlyError
from core.task_kinds import task_kind
from core.types.run import Stage
from core.types.sow import StatementOfWork
from core.types.transcript import Transcript

LIMIT_USD = 0.25
SYSTEM = (
    "You read a Statement of Work for a research task, written as free text, into its fields. Take over what the text "
    "says: models, benchmarks, metric, protocol, sampling, budget, rules. Leave out every field that the text says "
    "nothing about; never invent a model, a dataset or a licence. `sow` is 1. Set `task` to the text's own words."
)


async def read_prose(text: str, settings: LlmSettings) -> tuple[StatementOfWork, Transcript]:
    """Return the SoW that a text describes and the conversation that read it; raise ProseOnlyError without one."""
    notes = _Notes()
    brain = ModelBrain(settings, notes, LlmBudget(LIMIT_USD))
    question = Question(
        agent="intake",
        decision="which fields the text of the Statement of Work gives",
        system=SYSTEM,
        user=text,
        answer=StatementOfWork,
        policy=_refuse,
        check=_problems,
    )
    try:
        sow = await brain.decide(question)
    finally:
        await brain.aclose()
    return sow, notes.transcripts[0]


def _problems(sow: StatementOfWork) -> Sequence[str]:
    return [f"{p['path']}: {p['message']} Allowed: {p['allowed']}." for p in task_kind(sow.kind).problems(sow)]


def _refuse() -> Never:
    raise ProseOnlyError(
        "The language model could not read the text into the fields of a Statement of Work.",
        fix="Put the fields in YAML front matter between two lines of ---; examples/ has whole ones.",
    )


@dataclass
class _Notes:
    """A journal for what happens before there is a run."""

    transcripts: list[Transcript] = field(default_factory=list)

    async def event(self, kind: str, message: str, *, stage: Stage | None = None, **data: Any) -> None:
        """Nobody follows yet."""

    async def transcript(self, transcript: Transcript) -> int:
        """Keep a decision for the run; return its number."""
        self.transcripts.append(transcript)
        return len(self.transcripts)

    async def progress(self, stage: Stage, done: int, total: int, note: str = "") -> None:
        """Nobody follows yet."""
