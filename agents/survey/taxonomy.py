"""Categories of a topic's works: what belongs where, and by which words a title or a list's heading shows it.

A topic may bring its own categories (merging_taxonomy.py does); what the headings of found lists and surveys add to
them, or for any other topic all of it, is drafted here (design: survey.md, steps 3 and 7).
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from agents.survey.text import STOP_WORDS, contains_phrase, stem, words

MIN_HEADING_WORKS = 3
MAX_DRAFTED = 40
_TYPICAL = ". Typical, for: "
OTHER = "other"
SURVEY = "survey"
_UNTITLED = frozenset({"contents", "table of contents", "citation", "contact", "license", "star history", "news"})
_WHERE_WORDS = (
    "aaai accepted acl acmmm aistats arxiv awesome chronological coling colm colt conference conferences corl cvpr "
    "date eacl eccv emnlp findings iccv icassp iclr icml icra ijcai interspeech iros journal journals kdd latest list "
    "main mlsys month naacl neurips nips oral others paper papers poster preprint preprints proceedings "
    "publication publications published reading recent sigir spotlight tmlr tpami track uai uncategorized unsorted "
    "venue venues wacv workshop workshops www year years"
)
_MONTHS = (
    "january february march april may june july august september october november december jan feb mar apr jun jul aug "
    "sep sept oct nov dec"
)
# Words of headings that say where, when or how works appeared, not what they are about.
_WHERE = frozenset(f"{_WHERE_WORDS} {_MONTHS}".split())


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
        return {c.key: f"{c.title}: {c.description}{_typical(c)}" for c in self.categories}


def _typical(category: Category) -> str:
    if not category.pros and not category.cons:
        return ""
    return f"{_TYPICAL}{'; '.join(category.pros)}; against: {'; '.join(category.cons)}."


def in_parts(described: str) -> tuple[str, str, str]:
    """Return a described category's name, what belongs to it, and what is typical of it, which may be empty."""
    name, _, rest = described.partition(": ")
    what, dot, typical = rest.partition(_TYPICAL)
    return name, what, f"{_TYPICAL.removeprefix('. ')}{typical}" if dot else ""


def slug_of(heading: str) -> str:
    """Return a short stable key for a heading."""
    kept = [w for w in words(heading) if w not in STOP_WORDS and not w.isdigit()]
    return "_".join(kept)[:48].strip("_") or OTHER


def plain_heading(heading: str) -> str:
    """Return a heading without counts, numbering and markup."""
    bare = re.sub(r"\((?:\d+|[^)]*\bpapers?\b[^)]*)\)|[*_`#]|^\s*[\dIVX]+[.)]\s+", "", heading)
    return " ".join(bare.split()).strip(" :-")


def extend(base: Taxonomy | None, listed: Iterable[tuple[str, ...]], topic: Collection[str] = ()) -> Taxonomy:
    """Return a taxonomy with what found lists add to it.

    `listed` holds one path of headings a listed work, `topic` the stems of the words that name the topic. A heading
    that means a known category adds nothing; of the others, the innermost with enough works become categories.
    """
    known = base.categories if base else ()
    reviews = Category(SURVEY, "Surveys", "surveys and reviews of the topic", {}, ("survey", "review", "overview"))
    rest = Category(OTHER, "Other", "in scope, and in no category with enough evidence")
    taxonomy = Taxonomy((*known, reviews))
    paths = [tuple(h for h in map(plain_heading, path) if says_what(h, topic)) for path in listed]
    fresh = [path for path in paths if path and taxonomy.of_heading(path) is None]
    under = Counter(heading for path in fresh for heading in dict.fromkeys(path))
    counts = Counter(
        next((h for h in reversed(path) if under[h] >= MIN_HEADING_WORKS), path[-1]) for path in fresh
    )  # fmt: skip
    drafted: dict[str, Category] = {}
    for heading, count in counts.most_common():
        key = slug_of(heading)
        if count < MIN_HEADING_WORKS or len(drafted) >= MAX_DRAFTED:
            continue
        if key not in drafted and taxonomy.get(key) is None and key != OTHER:
            drafted[key] = Category(key, heading, f"works that lists put under “{heading}”", {}, (heading,))
    return Taxonomy((*known, reviews, *drafted.values(), rest), base.terms if base else ())


def says_what(heading: str, topic: Collection[str]) -> bool:
    """Return whether a heading says what works are about, beyond the topic itself and where or when they appeared."""
    telling = [w for w in words(heading) if w not in STOP_WORDS and w not in _WHERE and not w.isdigit()]
    return heading.lower() not in _UNTITLED and any(stem(w) not in topic for w in telling)
