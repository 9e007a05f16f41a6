"""How trials fail, summed up from the outcomes that the search has seen: by skill, by verdict, and by item.

What a proposer is shown. Details of verdicts and labels may hold text that generated code made: they are cut short and
are data. Nothing is kept beyond the search; a resumed one fills it again from the jobs it finds.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from core.types.evaluation import Evaluation, ItemOutcome, SampleOutcome, Verdict
from core.types.optimization import TrialRecord

SHOWN_DETAILS = 3
SHOWN_FAMILIES = 4
SHOWN_ITEMS = 12
DETAIL_LENGTH = 80


@dataclass
class FailureMemory:
    """Outcomes by candidate, benchmark and item."""

    _seen: dict[str, dict[str, dict[str, ItemOutcome]]] = field(default_factory=dict)

    def keep(self, candidate_id: str, evaluation: Evaluation) -> None:
        """Remember an evaluation's outcomes."""
        own = self._seen.setdefault(candidate_id, {}).setdefault(evaluation.benchmark, {})
        own.update({outcome.item_id: outcome for outcome in evaluation.outcomes})

    def summary(self, trials: Sequence[TrialRecord]) -> dict[str, object]:
        """Return how these trials fail; items that another of them solves are named: weights can win them back."""
        known = [t for t in trials if t.candidate_id in self._seen]
        return {
            f"trial {t.number}": {
                name: self._benchmark(name, outcomes, [o.candidate_id for o in known if o is not t])
                for name, outcomes in sorted(self._seen[t.candidate_id].items())
            }
            for t in known
        }

    def _benchmark(self, name: str, outcomes: Mapping[str, ItemOutcome], others: Iterable[str]) -> dict[str, object]:
        failed = {i: o for i, o in outcomes.items() if o.score < 1}
        solved = {
            item for other in others for item, o in self._seen[other].get(name, {}).items() if o.score == 1
        }  # fmt: skip
        samples = [s for o in failed.values() for s in o.samples if s.verdict is not Verdict.PASSED]
        families = Counter(o.labels["family"] for o in failed.values() if "family" in o.labels)
        return {
            "items": len(outcomes),
            "failed": len(failed),
            "verdicts": dict(Counter(s.verdict.value for s in samples)),
            "details": [text for text, _ in Counter(_details(samples)).most_common(SHOWN_DETAILS)],
            "families": dict(families.most_common(SHOWN_FAMILIES)),
            "solved_by_another_trial": sorted(failed.keys() & solved)[:SHOWN_ITEMS],
        }


def _details(samples: Iterable[SampleOutcome]) -> Iterable[str]:
    return (s.detail[:DETAIL_LENGTH] for s in samples if s.detail)
