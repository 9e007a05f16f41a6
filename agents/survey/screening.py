"""In scope or not, with the reason: rules first, then relevance from four kinds of evidence.

Evidence: the work names the topic; lists and surveys of the topic name the work; in-scope works cite it or are cited by
it more than chance would have it; its wording is that of known in-scope works. Each gives a probability-like weight and
they combine as independent signs (noisy or). The weights are judgements, the same for every topic, fitted to no data.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from agents.survey.dedupe import Found, Pool
from agents.survey.text import stems
from agents.survey.topic import Topic
from agents.survey.wording import NOTHING_LEARNED, Wording, learn
from core.types.work import Screening, Work

KEEP = 0.5
BORDERLINE = 0.35
_CORE = 0.75
_ALIKE = 0.5
_ENOUGH_REFERENCES = 5
_VOUCHES = 0.4
_ONE = 1.0


@dataclass(frozen=True)
class Verdict:
    """The screening of one work: what, how sure, and why."""

    screening: Screening
    score: float
    reason: str


_Sign = tuple[float, str]


@dataclass
class Screener:
    """Judges the works of a pool; what it has learned of the topic's wording serves the next judgement."""

    topic: Topic
    wording: Wording = NOTHING_LEARNED
    closeness: Mapping[str, float] = field(default_factory=dict)
    _tokens: dict[tuple[str, int], tuple[list[str], list[str]]] = field(default_factory=dict)

    def judge(self, pool: Pool) -> dict[str, Verdict]:
        """Return the verdict on every work of the pool.

        A work vouches for its neighbors only as far as its own words, lists and meaning speak for it. Were works that
        are in scope by their company alone to vouch in turn, the scope would creep into neighboring fields.
        """
        own = {found.key: self._own_signs(found) for found in pool}
        self._learn(pool, own)
        own = {found.key: self._own_signs(found) for found in pool}
        vouching = {key: weight for key, signs in own.items() if (weight := _together(signs)) >= _VOUCHES}
        return {found.key: self._verdict(found, own[found.key], vouching, pool) for found in pool}

    def tokens_of(self, work: Work) -> tuple[list[str], list[str]]:
        """Return the stems of a work's title and of its abstract."""
        memo = (work.key, len(work.title) + len(work.abstract))
        if memo not in self._tokens:
            self._tokens[memo] = (stems(work.title), stems(work.abstract))
        return self._tokens[memo]

    def promises(self, work: Work) -> bool:
        """Return whether a work's own words speak for it, without looking at anything else."""
        title, abstract = self.tokens_of(work)
        return self.topic.directness([*title, *abstract]) > 0 or self.wording.score(title) >= _ALIKE

    def _learn(self, pool: Pool, own: Mapping[str, Sequence[_Sign]]) -> None:
        core: list[list[str]] = []
        rest: list[list[str]] = []
        for found in pool:
            title, _ = self.tokens_of(found.work)
            (core if _together(own[found.key]) >= _CORE else rest).append(title)
        self.wording = learn(core, rest)

    def _verdict(self, found: Found, own: Sequence[_Sign], vouching: Mapping[str, float], pool: Pool) -> Verdict:
        ruled_out = self._rule(found)
        if ruled_out:
            return Verdict(Screening.DROPPED, 0.0, ruled_out)
        signs = [*own, *_company(found, vouching, pool)]
        score = round(_together(signs), 4)
        reason = "; ".join(why for weight, why in sorted(signs, reverse=True) if weight > 0.05)
        return Verdict(decision(score), score, reason or "nothing ties it to the topic")

    def _rule(self, found: Found) -> str | None:
        work, topic = found.work, self.topic
        title, abstract = self.tokens_of(work)
        term = topic.excluded_by([*title, *abstract])
        if term:
            return f"holds the excluded term “{term}”"
        if topic.years and work.year and not topic.years[0] <= work.year <= topic.years[1]:
            return f"of {work.year}, outside {topic.years[0]}-{topic.years[1]}"
        return None

    def _own_signs(self, found: Found) -> list[_Sign]:
        title, abstract = self.tokens_of(found.work)
        signs = [
            (0.9 * self.topic.directness(title), "its title names the topic"),
            (0.55 * self.topic.directness(abstract), "its abstract names the topic"),
            (0.45 * self.wording.score(title), "worded like in-scope works"),
        ]
        if found.declared:
            signs.append((0.9, "the user named it"))
        if found.headings:
            signs.append((min(0.9, 0.6 + 0.15 * len(found.headings)), f"listed in {', '.join(sorted(found.headings))}"))
        near = self.closeness.get(found.key)
        if near is not None:
            signs.append((near, "close in meaning to in-scope works"))
        return signs


def _together(signs: Sequence[_Sign]) -> float:
    doubt = 1.0
    for weight, _ in signs:
        doubt *= 1.0 - weight
    return 1.0 - doubt


def _company(found: Found, vouching: Mapping[str, float], pool: Pool) -> list[_Sign]:
    """Return what a work's references and citations say: famous works are cited by all topics, so shares count."""
    citing = _vouched(found.cited_by, vouching, pool)
    cited = _vouched(found.cites, vouching, pool)
    signs = []
    if citing > _ONE:
        share = citing / max(citing, found.work.citations or 0)
        signs.append((min(0.85, 1.2 * share * citing / (citing + 2)), f"{citing:.0f} in-scope works cite it"))
    if found.references_seen >= _ENOUGH_REFERENCES and cited > _ONE:
        share = cited / found.references_seen
        signs.append((min(0.85, 1.8 * share), f"{share:.0%} of its references are in scope"))
    elif cited > _ONE:
        signs.append((0.9 * (cited - 1) / (cited + 2), f"it cites {cited:.0f} in-scope works"))
    return signs


def _vouched(keys: set[str], vouching: Mapping[str, float], pool: Pool) -> float:
    records = {r.key for r in map(pool.get, keys) if r is not None}
    return sum(vouching.get(key, 0.0) for key in records)


def decision(score: float) -> Screening:
    """Return what a score means."""
    if score >= KEEP:
        return Screening.KEPT
    return Screening.BORDERLINE if score >= BORDERLINE else Screening.DROPPED


def by_score(pool: Pool, verdicts: Mapping[str, Verdict], wanted: Callable[[Verdict], bool]) -> Sequence[Found]:
    """Return the works whose verdict is wanted, the surest first."""
    chosen = [f for f in pool if wanted(verdicts[f.key])]
    return sorted(chosen, key=lambda f: (-verdicts[f.key].score, f.key))
