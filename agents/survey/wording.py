"""How alike a text is to the works known to be in scope: BM25 with relevance weights learned from those works.

The weight of a term is Robertson and Spärck Jones's, from its counts among known in-scope works and among the rest
(Robertson & Zaragoza 2009, section 3.1), so that words of a neighboring field count against a work. Learned afresh from
the pool each time; no topic is built in.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from agents.survey.text import ngrams

K1 = 1.2
B = 0.75
MIN_EXAMPLES = 5
MAX_TERMS = 400


def terms_of(tokens: Sequence[str]) -> list[str]:
    """Return a text's words and pairs of adjacent words."""
    return [*tokens, *(" ".join(pair) for pair in ngrams(list(tokens), 2))]


@dataclass(frozen=True)
class Wording:
    """Learned weights of terms, and the mean length of a text for BM25's length normalization."""

    weights: Mapping[str, float]
    mean_length: float
    half: float

    def score(self, tokens: Sequence[str]) -> float:
        """Return how alike a text is: 0.5 where the typical in-scope work is, toward 0 and 1 beyond."""
        if not self.weights or not tokens:
            return 0.0
        raw = self.raw(tokens)
        return max(0.0, raw / (raw + self.half)) if raw > 0 else 0.0

    def raw(self, tokens: Sequence[str]) -> float:
        """Return the BM25 score of a text."""
        counts = Counter(terms_of(tokens))
        norm = K1 * (1 - B + B * len(tokens) / self.mean_length)
        return sum(
            self.weights[term] * count * (K1 + 1) / (count + norm)
            for term, count in counts.items()
            if term in self.weights
        )


NOTHING_LEARNED = Wording({}, 1.0, 1.0)


def learn(relevant: Sequence[Sequence[str]], rest: Sequence[Sequence[str]]) -> Wording:
    """Learn weights from the tokens of in-scope works and of the others; nothing from fewer than five works."""
    if len(relevant) < MIN_EXAMPLES:
        return NOTHING_LEARNED
    inside = _document_counts(relevant)
    outside = _document_counts(rest)
    counted = {
        term: _weight(inside[term], outside[term], len(relevant), len(rest))
        for term in set(inside) | set(outside)
        if inside[term] + outside[term] >= 3
    }
    # A term's use is its weight times how often it decides (Robertson 1990, 'offer weight').
    ranked = sorted(counted, key=lambda t: (-abs(counted[t]) * (inside[t] + outside[t]), t))[:MAX_TERMS]
    weights = {t: counted[t] for t in ranked}
    total = [*relevant, *rest]
    mean_length = sum(map(len, total)) / max(1, len(total)) or 1.0
    draft = Wording(weights, mean_length, 1.0)
    typical = sorted(draft.raw(tokens) for tokens in relevant)
    return Wording(weights, mean_length, max(0.5, typical[len(typical) // 2]))


def _document_counts(texts: Iterable[Sequence[str]]) -> Counter[str]:
    return Counter(term for tokens in texts for term in set(terms_of(tokens)))


def _weight(inside: int, outside: int, relevant: int, rest: int) -> float:
    odds = (inside + 0.5) * (rest - outside + 0.5) / ((relevant - inside + 0.5) * (outside + 0.5))
    return math.log(odds)
