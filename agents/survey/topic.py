"""What a survey is about: the phrases that name the topic, and the rules that bound it, read from the SoW.

Only the SoW's own words are used here; what the literature calls the topic is learned later (queries.py).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from agents.survey.text import GENERIC_WORDS, STOP_WORDS, contains_phrase, normalize_title, stem, stems, words
from core.types.sow import StatementOfWork

MAX_PHRASES = 12
_FILLER_WORDS = (
    "find all works work papers paper literature survey surveys methods method list please best state art compare "
    "reproduce report existing recent research topic question one single new better every each most known"
)
_GENERIC_STEMS = frozenset(stem(w) for w in GENERIC_WORDS)
_FILLER = STOP_WORDS | frozenset(_FILLER_WORDS.split())
_PREPOSITION = re.compile(r"\b(?:for|on|in|into|with|via|to|from|by|under|at|across|using)\b", re.IGNORECASE)
_LONG_FORM = re.compile(r"\b((?:[A-Za-z]+[ -]){1,5}[A-Za-z]+)\s*\(([A-Za-z]{2,6})s?\)")
# Abbreviations that any machine-learning reader takes for granted; both directions are searched.
_ABBREVIATIONS = {
    "llm": "large language model", "llms": "large language models", "moe": "mixture of experts",
    "fl": "federated learning",
    "rl": "reinforcement learning", "vlm": "vision language model", "peft": "parameter efficient fine tuning",
    "nas": "neural architecture search", "gnn": "graph neural network", "rag": "retrieval augmented generation",
}  # fmt: skip


@dataclass(frozen=True)
class Topic:
    """The topic of a survey.

    `phrases` are stemmed; a work that holds all the words of one is about the topic. `labels` are the same phrases as
    written. `require` are the SoW's inclusion terms, `exclude` its exclusion terms, both stemmed.
    """

    labels: tuple[str, ...]
    phrases: tuple[tuple[str, ...], ...]
    require: tuple[tuple[str, ...], ...] = ()
    exclude: tuple[tuple[str, ...], ...] = ()
    years: tuple[int, int] | None = None
    seeds: tuple[str, ...] = ()

    def directness(self, tokens: Sequence[str]) -> float:
        """Return how plainly stemmed text names the topic.

        1 as a phrase, 0.8 as scattered words, 0.5 by its specific words alone ('merging' of 'model merging'), else 0.
        """
        held = set(tokens)
        best = 0.0
        for phrase in (*self.phrases, *self.require):
            if contains_phrase(list(tokens), phrase):
                return 1.0
            if len(phrase) > 1 and set(phrase) <= held:
                best = max(best, 0.8)
            specific = set(phrase) - _GENERIC_STEMS
            if specific and specific <= held:
                best = max(best, 0.5)
        return best

    def excluded_by(self, tokens: Sequence[str]) -> str | None:
        """Return the exclusion term that a text holds, if any."""
        return next((" ".join(p) for p in self.exclude if contains_phrase(list(tokens), p)), None)


def topic_of(sow: StatementOfWork, known_terms: Iterable[str] = ()) -> Topic:
    """Return the topic that a SoW states: inclusion terms, then the head of its title, then its task pack's terms.

    What follows a preposition in a title ('… for large language models') narrows the topic and does not name it.
    """
    spec = sow.survey
    texts = [*spec.include, *_heads(sow.title), *known_terms]
    if not texts:
        texts = [h for text in (*spec.questions, sow.task, sow.title) for h in _phrases(text)][:4] or [sow.title]
    labels = _distinct([*texts, *_expansions(texts, f"{sow.title} {sow.task}")])[:MAX_PHRASES]
    return Topic(
        labels=tuple(labels),
        phrases=tuple(p for p in (tuple(stems(label)) for label in labels) if p),
        require=tuple(p for p in (tuple(stems(t)) for t in spec.include) if p),
        exclude=tuple(p for p in (tuple(stems(t)) for t in spec.exclude) if p),
        years=spec.years,
        seeds=spec.seeds,
    )


def _heads(title: str) -> list[str]:
    clauses = (c for c in re.split(r"[.,;:?!()\[\]/]|\s[-–—]\s", title) if c.strip())
    heads = [_PREPOSITION.split(clause, maxsplit=1)[0] for clause in clauses]
    return [phrase for head in heads[:2] for phrase in _phrases(head)]


def _phrases(text: str) -> list[str]:
    """Return the runs of content words of a text, two to four words long, that can name a topic."""
    phrases = []
    for clause in re.split(r"[.,;:?!()\[\]/]|\s[-–—]\s", text):
        run: list[str] = []
        for word in [*words(clause.replace("-", " ")), "the"]:
            if word not in _FILLER:
                run.append(word)
                continue
            phrases += _windows(run)
            run = []
    return _distinct(phrases)


def _windows(run: Sequence[str]) -> list[str]:
    if len(run) <= 3:
        return [" ".join(run)] if _names_something(run) else []
    return [" ".join(w) for w in pairwise(run) if _names_something(w)]


def _names_something(run: Sequence[str]) -> bool:
    specific = [w for w in run if w not in GENERIC_WORDS and not w.isdigit() and len(w) > 2]
    return bool(specific) and (len(run) > 1 or len(specific[0]) > 5)


def _expansions(labels: Iterable[str], text: str) -> list[str]:
    """Return the labels with abbreviations written out and long forms abbreviated."""
    pairs = dict(_ABBREVIATIONS)
    pairs.update({short.lower(): normalize_title(long) for long, short in _LONG_FORM.findall(text)})
    expanded = []
    for label in labels:
        for short, long in pairs.items():
            if re.search(rf"\b{re.escape(short)}\b", label):
                expanded.append(re.sub(rf"\b{re.escape(short)}\b", long, label))
            elif re.search(rf"\b{re.escape(long)}\b", label) and len(label.split()) > len(long.split()):
                expanded.append(re.sub(rf"\b{re.escape(long)}\b", short, label))
    return expanded


def _distinct(labels: Iterable[str]) -> list[str]:
    seen: dict[tuple[str, ...], str] = {}
    for label in labels:
        seen.setdefault(tuple(stems(label)), normalize_title(label))
    return [label for phrase, label in seen.items() if phrase]
