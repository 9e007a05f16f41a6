"""Which categories a work belongs to, with the evidence: what sources state, then list headings, then wording.

Multi-label: a work may stand in several categories. Each label says what it rests on, so that a reader can judge it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agents.survey.dedupe import Found
from agents.survey.taxonomy import OTHER, SURVEY, Category, Taxonomy
from agents.survey.text import contains_phrase, stems
from agents.survey.wording import Wording, learn

ENOUGH = 0.6
NEAR_BEST = 0.6
MAX_LABELS = 3
_ABSTRACT = 0.4
_LEARNED = 1.5


@dataclass(frozen=True)
class Label:
    """One category of a work and why."""

    category: str
    evidence: str


class Classifier:
    """Classifies works into a taxonomy; learns the wording of categories from works that lists put there."""

    def __init__(self, taxonomy: Taxonomy, found: Iterable[Found]) -> None:
        self.taxonomy = taxonomy
        self._cues = {c.key: _stemmed(c) for c in taxonomy.categories}
        self._learned = self._learn(tuple(found))

    def labels(self, found: Found) -> tuple[Label, ...]:
        """Return a work's categories, the surest first; `other` where nothing is shown."""
        stated = [*self._stated(found), *self._listed(found)]
        labels = tuple({label.category: label for label in reversed(stated)}.values())[::-1]
        return labels[:MAX_LABELS] or self._worded(found) or (Label(OTHER, "no evidence for any category"),)

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

    def _worded(self, found: Found) -> tuple[Label, ...]:
        title = stems(found.work.title, keep_stop_words=True)
        abstract = stems(found.work.abstract, keep_stop_words=True)
        scored = []
        for category in self.taxonomy.categories:
            score, seen = self._cue_score(category, title, abstract)
            wording = self._learned.get(category.key)
            if wording:
                score += _LEARNED * wording.score(stems(found.work.title))
            if score >= ENOUGH:
                why = f"its wording: {', '.join(seen)}" if seen else "worded like the works listed there"
                scored.append((score, Label(category.key, why)))
        scored.sort(key=lambda s: -s[0])
        return tuple(label for score, label in scored if score >= NEAR_BEST * scored[0][0])[:MAX_LABELS]

    def _cue_score(self, category: Category, title: list[str], abstract: list[str]) -> tuple[float, Sequence[str]]:
        score, seen = 0.0, []
        for phrase, (cue, weight) in self._cues[category.key].items():
            here = contains_phrase(title, phrase)
            if here or contains_phrase(abstract, phrase):
                score += weight if here else weight * _ABSTRACT
                seen.append(cue)
        return score, seen

    def _learn(self, found: Sequence[Found]) -> dict[str, Wording]:
        shown: dict[str, set[str]] = {}
        for one in found:
            for label in (*self._stated(one), *self._listed(one)):
                shown.setdefault(label.category, set()).add(one.key)
        everyone = {key for keys in shown.values() for key in keys}
        titles = {one.key: stems(one.work.title) for one in found if one.key in everyone}
        return {
            category: learn([titles[k] for k in sorted(keys)], [titles[k] for k in sorted(everyone - keys)])
            for category, keys in shown.items()
        }


def _stemmed(category: Category) -> dict[tuple[str, ...], tuple[str, float]]:
    """Return a category's cues by their stems, the strongest where two share them."""
    by_stems: dict[tuple[str, ...], tuple[str, float]] = {}
    for cue, weight in sorted(category.cues.items(), key=lambda c: c[1]):
        by_stems[tuple(stems(cue, keep_stop_words=True))] = (cue, weight)
    return by_stems
