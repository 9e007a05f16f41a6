"""Categories of a topic's works: what belongs where, and by which words a title or a list's heading shows it.

A topic may bring its own categories (merging_taxonomy.py does); what the headings of found lists and surveys add to
them, or for any other topic all of it, is drafted here (design: survey.md, steps 3 and 7).
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from agents.survey.text import STOP_WORDS, contains_phrase, words

MIN_HEADING_WORKS = 3
MAX_DRAFTED = 40
OTHER = "other"
SURVEY = "survey"
_UNTITLED = frozenset({"contents", "table of contents", "citation", "contact", "license", "star history", "news"})


@dataclass(frozen=True)
class Category:
    """One category.

    `cues` are phrases in titles and abstracts with how strongly they speak; `headings` are phrases by which a list's
    heading is known to mean this category; `pros` and `cons` are what is typical of it, not of any one work.
    """

    key: str
    title: str
    description: str
    cues: Mapping[str, float] = field(default_factory=dict)
    headings: tuple[str, ...] = ()
    pros: tuple[str, ...] = ()
    cons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Taxonomy:
    """The categories of a topic, in the order in which a report shows them, and the field's names for the topic."""

    categories: tuple[Category, ...]
    terms: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        keys = [c.key for c in self.categories]
        if len(keys) != len(set(keys)):
            raise ValueError("two categories share a key")

    def get(self, key: str) -> Category | None:
        """Return a category by its key."""
        return next((c for c in self.categories if c.key == key), None)

    def of_heading(self, headings: Iterable[str]) -> Category | None:
        """Return the category that a path of headings means, the innermost heading first."""
        for heading in reversed(tuple(headings)):
            # Words, not stems: 'weighted merging' and 'weight alignment' are different things.
            tokens = words(heading)
            matches = [
                (len(phrase), c)
                for c in self.categories
                for phrase in c.headings
                if contains_phrase(tokens, words(phrase))
            ]
            if matches:
                return max(matches, key=lambda m: m[0])[1]
        return None

    def of_name(self, name: str) -> Category | None:
        """Return the category that a file or a model names by key, title or heading."""
        slug = slug_of(name)
        exact = next((c for c in self.categories if slug in {c.key, slug_of(c.title)}), None)
        return exact or self.of_heading((name,))

    def described(self) -> dict[str, str]:
        """Return each category's key and what belongs to it."""
        return {c.key: f"{c.title}: {c.description}" for c in self.categories}


def slug_of(heading: str) -> str:
    """Return a short stable key for a heading."""
    kept = [w for w in words(heading) if w not in STOP_WORDS and not w.isdigit()]
    return "_".join(kept)[:48].strip("_") or OTHER


def plain_heading(heading: str) -> str:
    """Return a heading without counts, numbering and markup."""
    bare = re.sub(r"\((?:\d+|[^)]*\bpapers?\b[^)]*)\)|[*_`#]|^\s*[\dIVX]+[.)]\s+", "", heading)
    return " ".join(bare.split()).strip(" :-")


def extend(base: Taxonomy | None, listed: Iterable[tuple[str, ...]]) -> Taxonomy:
    """Return a taxonomy with what found lists add to it.

    `listed` holds one path of headings a listed work. A heading that means a known category adds nothing; others
    become categories when enough works stand under them.
    """
    known = base.categories if base else ()
    reviews = Category(SURVEY, "Surveys", "surveys and reviews of the topic", {}, ("survey", "review", "overview"))
    rest = Category(OTHER, "Other", "in scope, and in no category with enough evidence")
    taxonomy = Taxonomy((*known, reviews))
    counts: Counter[str] = Counter()
    for path in listed:
        if path and taxonomy.of_heading(path) is None:
            counts[plain_heading(path[-1])] += 1
    drafted: dict[str, Category] = {}
    for heading, count in counts.most_common():
        key = slug_of(heading)
        if count < MIN_HEADING_WORKS or heading.lower() in _UNTITLED or len(drafted) >= MAX_DRAFTED:
            continue
        if key not in drafted and taxonomy.get(key) is None and key != OTHER:
            drafted[key] = Category(key, heading, f"works that lists put under “{heading}”", {}, (heading,))
    return Taxonomy((*known, reviews, *drafted.values(), rest), base.terms if base else ())
