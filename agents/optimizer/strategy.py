"""The port of search strategies: ask for a point, tell what came of it."""

from typing import Protocol

from agents.optimizer.space import Point
from core.types.base import Value
from core.types.optimization import TrialRecord


class Proposal(Value):
    """A point to try. `number` is the trial's; a trial that a killed process left comes back with its number."""

    number: int
    point: Point
    source: str


class Strategy(Protocol):
    """Where proposals come from. Everything told survives the process."""

    @property
    def name(self) -> str:
        """Return what the report calls it."""
        ...

    async def ask(self) -> Proposal:
        """Return a point to try; first those that were asked for and never told."""
        ...

    async def tell(self, proposal: Proposal, record: TrialRecord) -> None:
        """Keep what came of a proposal; telling the same trial twice changes nothing."""
        ...

    async def history(self) -> tuple[TrialRecord, ...]:
        """Return all that was told, in the order asked."""
        ...
