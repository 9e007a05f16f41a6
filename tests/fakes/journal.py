"""A journal in memory: a real implementation of the port, for reading back what an agent wrote."""

from typing import Any

from core.types.run import Stage
from core.types.transcript import Transcript


class MemoryJournal:
    """Keeps what is written, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, dict[str, Any]]] = []
        self.transcripts: list[Transcript] = []
        self.steps: list[tuple[Stage, int, int, str]] = []

    async def event(self, kind: str, message: str, *, stage: Stage | None = None, **data: Any) -> None:
        self.events.append((kind, message, data))

    async def transcript(self, transcript: Transcript) -> int:
        self.transcripts.append(transcript)
        return len(self.transcripts)

    async def progress(self, stage: Stage, done: int, total: int, note: str = "") -> None:
        self.steps.append((stage, done, total, note))

    def everything(self) -> str:
        """All text that was written."""
        return repr(self.events) + "".join(t.model_dump_json() for t in self.transcripts)
