"""Categories for a topic that brings none and whose lists show none: drafted from how its works are worded.

Works are grouped by likeness; the phrases that set a group apart name it and become its cues, by which works are then
classified like with any other category. A draft: its names are phrases, not concepts.
"""

import math
from collections import Counter
from collections.abc import Collection, Sequence

from agents.survey.likeness import Likeness
from agents.survey.taxonomy import OTHER, SURVEY, Category, Taxonomy, slug_of
from agents.survey.text import GENERIC_WORDS, STOP_WORDS, ngrams, stem, words

LEAST_WORKS = 30
MOST_GROUPS = 10
_PHRASES = 6
_LEAST_COUNT = 3
_LEAST_SHARE = 0.5
Phrase = tuple[str, ...]


def has_categories(taxonomy: Taxonomy) -> bool:
    """Return whether a taxonomy says more than what is a survey and what is not."""
    return any(c.key not in {SURVEY, OTHER} for c in taxonomy.categories)


def draft(taxonomy: Taxonomy, titles: Sequence[str], likeness: Likeness, topic: Collection[str]) -> Taxonomy:
    """Return the taxonomy with categories drafted from titles; unchanged where there are too few works to group.

    `topic` holds the stems of the topic's own words, which set nothing apart.
    """
    if len(titles) < LEAST_WORKS:
        return taxonomy
    spelled: dict[Phrase, Counter[str]] = {}
    held = [_phrases(title, topic, spelled) for title in titles]
    everywhere = Counter(phrase for phrases in held for phrase in phrases)
    groups = likeness.groups(min(MOST_GROUPS, max(2, round(math.sqrt(len(titles) / 4)))))
    drafted: dict[str, Category] = {}
    for group in groups:
        telling = _telling(Counter(p for row in group for p in held[row]), everywhere, len(titles))
        if telling:
            named = [spelled[p].most_common(1)[0][0] for p in telling]
            title = " / ".join(named[:2]).capitalize()
            what = f"works worded around {', '.join(named)}"
            drafted.setdefault(slug_of(named[0]), Category(slug_of(named[0]), title, what, dict.fromkeys(named, 1.0)))
    kept = [c for c in taxonomy.categories if c.key != OTHER and c.key not in drafted]
    rest = [c for c in taxonomy.categories if c.key == OTHER]
    return Taxonomy((*kept, *drafted.values(), *rest), taxonomy.terms)


def _phrases(title: str, topic: Collection[str], spelled: dict[Phrase, Counter[str]]) -> set[Phrase]:
    tokens, found = words(title), set()
    for size in (1, 2):
        for run in ngrams(tokens, size):
            stems = tuple(stem(w) for w in run)
            bare = all(w not in STOP_WORDS and w not in GENERIC_WORDS and len(w) > 2 and not w.isdigit() for w in run)
            if bare and not set(stems) & set(topic):
                found.add(stems)
                spelled.setdefault(stems, Counter())[" ".join(run)] += 1
    return found


def _telling(inside: Counter[Phrase], everywhere: Counter[Phrase], total: int) -> list[Phrase]:
    """Return the phrases that set a group apart, the most telling first, none within another."""
    scored = {
        phrase: count * math.log(1 + total / everywhere[phrase]) * len(phrase)
        for phrase, count in inside.items()
        if count >= _LEAST_COUNT and count >= _LEAST_SHARE * everywhere[phrase]
    }
    chosen: list[Phrase] = []
    for phrase in sorted(scored, key=lambda p: (-scored[p], p)):
        if not any(set(phrase) & set(other) for other in chosen):
            chosen.append(phrase)
    return chosen[:_PHRASES]
