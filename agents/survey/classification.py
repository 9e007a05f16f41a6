"""Which categories a work belongs to, with the evidence: what sources state, then list headings, then its likeness.

Multi-label: a work may stand in several categories. Each label says what it rests on, so that a reader can judge it.
Where neither a source nor a list says it, three things count: the words by which a category is known, the same words
in the works most like it, and what the listed works teach of their categories (likeness.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agents.survey.dedupe import Found
from agents.survey.likeness import Likeness, likeness_of
from agents.survey.taxonomy import OTHER, SURVEY, Category, Taxonomy
from agents.survey.text import contains_phrase, shorten, stems

ENOUGH = 0.05
NEAR_BEST = 0.6
MAX_LABELS = 3
# Weaker words alone are no evidence.
_LEAST_CUE = 0.6
_ABSTRACT = 0.4


@dataclass(frozen=True)
class Label:
    """One category of a work and why."""

    category: str
    evidence: str


class Classifier:
    """Classifies works into a taxonomy; learns from those that sources and lists put into its categories."""

    def __init__(self, taxonomy: Taxonomy, found: Sequence[Found], likeness: Likeness | None = None) -> None:
        self.taxonomy = taxonomy
        self._found = tuple(found)
        self._row = {one.key: row for row, one in enumerate(self._found)}
        self._keys = [c.key for c in taxonomy.categories]
        self._phrases = {c.key: _stemmed(c) for c in taxonomy.categories}
        self._likeness = likeness or likeness_of(self._found, {})
        known = self._known()
        self._members = {key: np.flatnonzero(known[:, c]).tolist() for c, key in enumerate(self._keys)}
        self._seen: list[dict[str, list[str]]] = [{} for _ in self._found]
        self._scores = self._likeness.learned(known) + self._likeness.spread(self._cues())

    def labels(self, found: Found) -> tuple[Label, ...]:
        """Return a work's categories, the surest first; `other` where nothing is shown."""
        sure = self._sure(found)
        if sure:
            return sure[:MAX_LABELS]
        scores = self._scores[self._row[found.key]]
        order = [c for c in np.argsort(-scores, kind="stable") if self._keys[c] != OTHER]
        if not order or scores[order[0]] < ENOUGH:
            return (Label(OTHER, "no evidence for any category"),)
        near = [c for c in order if scores[c] >= max(ENOUGH, NEAR_BEST * scores[order[0]])]
        return tuple(Label(self._keys[c], self._why(found, self._keys[c])) for c in near[:MAX_LABELS])

    def _sure(self, found: Found) -> tuple[Label, ...]:
        labels = [*self._stated(found), *self._listed(found)]
        return tuple({label.category: label for label in reversed(labels)}.values())[::-1]

    def _stated(self, found: Found) -> list[Label]:
        named = [(name, self.taxonomy.of_name(name)) for name in found.work.categories]
        labels = [Label(c.key, f"its source says “{name}”") for name, c in named if c]
        return [*labels, Label(SURVEY, "it is a survey")] if found.work.is_survey else labels

    def _listed(self, found: Found) -> list[Label]:
        labels = []
        for origin, paths in sorted(found.headings.items()):
            for path in paths:
                category = self.taxonomy.of_heading(path)
                if category:
                    labels.append(Label(category.key, f"{origin} lists it under “{path[-1]}”"))
        return labels

    def _known(self) -> NDArray[np.float64]:
        """Return the categories that sources and lists put works into, a work's shares adding to one."""
        known = np.zeros((len(self._found), len(self._keys)))
        for row, one in enumerate(self._found):
            for label in self._sure(one):
                known[row, self._keys.index(label.category)] = 1.0
        return known / np.maximum(known.sum(axis=1, keepdims=True), 1.0)

    def _cues(self) -> NDArray[np.float64]:
        """Return what words say of each work, its shares adding to one where they say enough."""
        cues = np.zeros((len(self._found), len(self._keys)))
        for row, one in enumerate(self._found):
            title = stems(one.work.title, keep_stop_words=True)
            abstract = stems(one.work.abstract, keep_stop_words=True)
            for column, key in enumerate(self._keys):
                cues[row, column], seen = self._cue_score(key, title, abstract)
                if seen:
                    self._seen[row][key] = seen
        cues[cues.max(axis=1, initial=0.0) < _LEAST_CUE] = 0.0
        return cues / np.maximum(cues.sum(axis=1, keepdims=True), 1e-12)

    def _cue_score(self, key: str, title: list[str], abstract: list[str]) -> tuple[float, list[str]]:
        score, seen = 0.0, []
        for phrase, (cue, weight) in self._phrases[key].items():
            here = contains_phrase(title, phrase)
            if here or contains_phrase(abstract, phrase):
                score += weight if here else weight * _ABSTRACT
                seen.append(cue)
        return score, seen

    def _why(self, found: Found, category: str) -> str:
        row = self._row[found.key]
        seen = self._seen[row].get(category)
        if seen:
            return f"its wording: {', '.join(seen)}"
        members = [m for m in self._members[category] if m != row]
        if members:
            like = self._found[self._likeness.nearest(row, members)].work.title
            return f"most like “{shorten(like, 80)}” among the works known to be there"
        return "worded like works that show it"


def _stemmed(category: Category) -> dict[tuple[str, ...], tuple[str, float]]:
    """Return a category's cues by their stems, the strongest where two share them."""
    by_stems: dict[tuple[str, ...], tuple[str, float]] = {}
    for cue, weight in sorted(category.cues.items(), key=lambda c: c[1]):
        by_stems[tuple(stems(cue, keep_stop_words=True))] = (cue, weight)
    return by_stems
