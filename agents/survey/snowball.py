"""Snowballing: references and citations of in-scope works, in rounds, until a round adds next to nothing.

A round expands the most promising unexpanded in-scope works, and looks at the references of uncertain ones. The stop
rule is the declared one: so many rounds in a row, each adding less than a share of new in-scope works; or nothing left
to expand; or the budget (design: survey.md, step 4).
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from agents.survey.dedupe import Found
from agents.survey.gather import Gatherer, Inquiry
from agents.survey.ledger import Asked
from core.ports import CitationSource, Page
from core.types.run import Stage
from core.types.work import Work

SNOWBALL = "snowball"
MAX_PAGES = 6
# Returns the works in scope and those that may be, the surest first.
_Judge = Callable[[], tuple[Sequence[Found], Sequence[Found]]]
_Edges = Callable[[Work, int], Awaitable[Page]]


@dataclass
class Snowball:
    """Expands works at citation sources, the first that knows a work, and notes who cites whom."""

    gatherer: Gatherer
    sources: Sequence[CitationSource]

    async def roll(self, judge: _Judge) -> str:
        """Run rounds until the stop rule; `judge` looks at the pool anew. Return why it stopped."""
        limits = self.gatherer.desk.limits
        if not self.sources:
            return "all queries were answered, and no source of citations was asked for"
        (before, uncertain), quiet = judge(), 0
        for number in range(1, limits.rounds + 1):
            width = max(limits.round_least, int(limits.round_share * len(before)))
            chosen = [f for f in before if not f.expanded][:width]
            if not chosen:
                return "every in-scope work was expanded"
            await self.expand(chosen)
            await self.examine([f for f in uncertain if not f.references_seen and not f.expanded][:width])
            if self.gatherer.exhausted:
                return "the request budget was used up"
            now, uncertain = judge()
            gain = (len(now) - len(before)) / max(1, len(before))
            quiet = quiet + 1 if gain < limits.quiet_yield else 0
            await self._tell(number, len(chosen), len(now), gain)
            if quiet >= limits.quiet_rounds:
                return f"{quiet} rounds in a row each added under {limits.quiet_yield:.0%} in-scope works"
            before = now
        return f"the limit of {limits.rounds} rounds was reached"

    async def expand(self, works: Sequence[Found], occasion: str = SNOWBALL) -> None:
        """Pool what works cite and what cites them."""
        for found in works:
            found.expanded = True
        await self._edges(works, "references", occasion)
        await self._edges(works, "citations", occasion)

    async def examine(self, works: Sequence[Found]) -> None:
        """Look at the references of works whose scope is uncertain, to see what company they keep."""
        await self._edges(works, "references", SNOWBALL)

    async def _edges(self, works: Sequence[Found], kind: str, occasion: str) -> None:
        """Ask the sources in turn for one kind of edges, each for the works that the former ones knew none of."""
        waiting = list(works)
        for source in self.sources:
            edges: _Edges = source.references if kind == "references" else source.citations
            turn, unknown = [(found, 0) for found in waiting], []
            while turn:
                taken = await self.gatherer.ask_all(
                    [
                        Inquiry(Asked(source.name, f"{kind}:{f.key}", p), partial(edges, f.work, p), occasion)
                        for f, p in turn
                    ]
                )
                following = []
                for (found, page), answer in zip(turn, taken, strict=True):
                    if page == 0 and (answer is None or not answer.records):
                        unknown.append(found)
                        continue
                    records = answer.records if answer else ()
                    for record in records:
                        _link(found, record, kind)
                    found.references_seen += len(records) if kind == "references" else 0
                    if answer and answer.next_page is not None and answer.next_page < MAX_PAGES:
                        following.append((found, answer.next_page))
                turn = following
            waiting = unknown

    async def _tell(self, number: int, expanded: int, in_scope: int, gain: float) -> None:
        await self.gatherer.desk.journal.event(
            "survey.round",
            f"Round {number}: {expanded} works expanded, {in_scope} in scope, {gain:+.1%}",
            stage=Stage.SURVEY,
            round=number,
            expanded=expanded,
            in_scope=in_scope,
        )


def _link(found: Found, record: Found, kind: str) -> None:
    if found.key == record.key:
        return
    citing, cited = (found, record) if kind == "references" else (record, found)
    citing.cites.add(cited.key)
    cited.cited_by.add(citing.key)
