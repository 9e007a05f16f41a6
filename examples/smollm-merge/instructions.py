"""Instructions whose fulfilment can be checked: held-out ones and training ones, whole families apart.

Every item asks for a short text on a topic under one or two constraints. Training answers are built from a small
grammar and each is verified by the reference checker before it is used. Quality of prose is not graded.
"""

import json
import random
from collections.abc import Callable
from typing import Any

from constraints import Constraint, all_hold, words
from instruction_texts import (
    ENDINGS,
    HELD_OUT_TOPICS,
    KEYWORDS,
    MARKERS,
    STARTS,
    THINGS,
    TRAINING_TOPICS,
    sentence,
    sentence_after_opening,
    sentence_of_length,
)

HELD_OUT_PER_FAMILY = 14
TRAINING_PER_FAMILY = 260
Item = dict[str, Any]
Draw = tuple[str, list[Constraint], str]


def uppercase(topic: str, rng: random.Random) -> Draw:
    ask = rng.choice(
        ("Write a sentence about {t} in all capital letters.", "Use only capital letters to write about {t}.")
    )
    return ask.format(t=topic), [{"kind": "uppercase"}], f"{sentence(topic, rng)}.".upper()


def lowercase(topic: str, rng: random.Random) -> Draw:
    ask = rng.choice(
        ("Write a sentence about {t} in lowercase letters only.", "Write about {t} without any capital letter.")
    )
    return ask.format(t=topic), [{"kind": "lowercase"}], f"{sentence(topic, rng)}.".lower()


def word_count(topic: str, rng: random.Random) -> Draw:
    count = rng.randint(4, 10)
    ask = rng.choice(("Write about {t} in exactly {n} words.", "Describe {t}. Use exactly {n} words."))
    return ask.format(t=topic, n=count), [{"kind": "word_count", "count": count}], sentence_of_length(topic, count, rng)


def max_words(topic: str, rng: random.Random) -> Draw:
    count = rng.randint(5, 10)
    ask = rng.choice(("Describe {t} in at most {n} words.", "Write about {t}. Use no more than {n} words."))
    text = sentence_of_length(topic, rng.randint(4, count), rng)
    return ask.format(t=topic, n=count), [{"kind": "max_words", "count": count}], text


def starts_with(topic: str, rng: random.Random) -> Draw:
    start = rng.choice(STARTS)
    ask = rng.choice(
        ('Write a sentence about {t} that starts with the word "{w}".', 'Begin with "{w}" and write about {t}.')
    )
    text = f"{start} {sentence_after_opening(topic, rng)}."
    return ask.format(t=topic, w=start), [{"kind": "starts_with", "prefix": start}], text


def ends_with(topic: str, rng: random.Random) -> Draw:
    ending = rng.choice(ENDINGS)
    ask = rng.choice(
        ('Write about {t} and finish with "{w}"', 'Write a sentence about {t}. End your answer with "{w}"')
    )
    return (
        ask.format(t=topic, w=ending),
        [{"kind": "ends_with", "suffix": ending}],
        f"{sentence(topic, rng)}. {ending}",
    )


def include(topic: str, rng: random.Random) -> Draw:
    keyword = rng.choice(KEYWORDS)
    ask = rng.choice(('Write a sentence about {t} with the word "{w}".', 'Write about {t} and include the word "{w}".'))
    tail = rng.choice((f"on a {keyword} day", f"and feel {keyword}", f"in a {keyword} way"))
    return ask.format(t=topic, w=keyword), [{"kind": "include", "keyword": keyword}], f"{sentence(topic, rng)} {tail}."


def list_items(topic: str, rng: random.Random) -> Draw:
    count, marker = rng.randint(2, 5), rng.choice(MARKERS)
    ask = rng.choice(('List {n} words about {t}, one a line, each line starting with "{m} ".',
                      'Give {n} words for {t}. Put each on its own line after "{m} ".'))  # fmt: skip
    text = "\n".join(f"{marker} {word}" for word in rng.sample(KEYWORDS, count))
    constraint = {"kind": "list_items", "count": count, "marker": marker}
    return ask.format(t=topic, n=count, m=marker), [constraint], text


def quoted(topic: str, rng: random.Random) -> Draw:
    ask = rng.choice(
        (
            "Write a sentence about {t} inside double quotation marks.",
            "Put your whole answer in double quotes: describe {t}.",
        )
    )
    return ask.format(t=topic), [{"kind": "quoted"}], f'"{sentence(topic, rng)}."'


def json_keys(topic: str, rng: random.Random) -> Draw:
    keys = rng.sample(THINGS, 2)
    ask = rng.choice(
        (
            'Describe {t} as JSON with the keys "{a}" and "{b}".',
            'Answer in JSON only, with the keys "{a}" and "{b}": describe {t}.',
        )
    )
    text = json.dumps(dict(zip(keys, rng.sample(KEYWORDS, 2), strict=True)))
    return ask.format(t=topic, a=keys[0], b=keys[1]), [{"kind": "json_keys", "keys": keys}], text


def separated(topic: str, rng: random.Random) -> Draw:
    count, separator = rng.randint(3, 5), rng.choice((";", "|", "/"))
    ask = rng.choice(
        ('Give {n} words about {t}, separated by "{m}".', 'Write {n} words for {t} with "{m}" between them.')
    )
    text = f" {separator} ".join(rng.sample(KEYWORDS, count))
    constraint = {"kind": "separated", "count": count, "separator": separator}
    return ask.format(t=topic, n=count, m=separator), [constraint], text


def start_and_end(topic: str, rng: random.Random) -> Draw:
    start, ending = rng.choice(STARTS), rng.choice(ENDINGS)
    ask = 'Write about {t}. Start with "{a}" and end with "{b}"'
    found = [{"kind": "starts_with", "prefix": start}, {"kind": "ends_with", "suffix": ending}]
    return ask.format(t=topic, a=start, b=ending), found, f"{start} {sentence_after_opening(topic, rng)}. {ending}"


def capital_keyword(topic: str, rng: random.Random) -> Draw:
    keyword = rng.choice(KEYWORDS)
    ask = 'Write about {t} in all capital letters and include the word "{w}".'
    found = [{"kind": "uppercase"}, {"kind": "include", "keyword": keyword}]
    return ask.format(t=topic, w=keyword.upper()), found, f"{sentence(topic, rng)} on a {keyword} day.".upper()


def enclosed(topic: str, rng: random.Random) -> Draw:
    opening, closing = rng.choice((("[", "]"), ("(", ")"), ("<<", ">>"), ("**", "**"), ("{", "}")))
    ask = 'Write a sentence about {t}. Your answer must begin with "{a}" and end with "{b}".'
    found: list[Constraint] = [{"kind": "enclosed", "opening": opening, "closing": closing}]
    return ask.format(t=topic, a=opening, b=closing), found, f"{opening}{sentence(topic, rng)}.{closing}"


def lower_keyword(topic: str, rng: random.Random) -> Draw:
    keyword = rng.choice(KEYWORDS)
    ask = 'Use lowercase letters only to write about {t}, and use the word "{w}".'
    found = [{"kind": "lowercase"}, {"kind": "include", "keyword": keyword}]
    return ask.format(t=topic, w=keyword), found, f"{sentence(topic, rng)} on a {keyword} day.".lower()


def start_and_keyword(topic: str, rng: random.Random) -> Draw:
    start, keyword = rng.choice(STARTS), rng.choice(KEYWORDS)
    ask = 'Start with the word "{a}", write about {t}, and include the word "{b}".'
    found = [{"kind": "starts_with", "prefix": start}, {"kind": "include", "keyword": keyword}]
    return (
        ask.format(t=topic, a=start, b=keyword),
        found,
        f"{start} {sentence_after_opening(topic, rng)} on a {keyword} day.",
    )


def quoted_capitals(topic: str, rng: random.Random) -> Draw:
    ask = "Write about {t} in all capital letters and inside double quotation marks."
    return ask.format(t=topic), [{"kind": "quoted"}, {"kind": "uppercase"}], f'"{sentence(topic, rng)}."'.upper()


def repeated(topic: str, rng: random.Random) -> Draw:
    keyword, count = rng.choice(KEYWORDS), rng.randint(2, 3)
    ask = 'Write about {t} and use the word "{w}" at least {n} times.'
    text = f"{sentence(topic, rng)}, {' and '.join([keyword] * count)}."
    return ask.format(t=topic, w=keyword, n=count), [{"kind": "include", "keyword": keyword, "count": count}], text


Family = Callable[[str, random.Random], Draw]
SEEN: tuple[Family, ...] = (
    uppercase, lowercase, word_count, max_words, starts_with, ends_with, include, list_items, quoted, json_keys,
    separated, start_and_end, capital_keyword,
)  # fmt: skip
UNSEEN: tuple[Family, ...] = (enclosed, lower_keyword, start_and_keyword, quoted_capitals, repeated)


def benchmark(seed: int = 22) -> list[Item]:
    """Return the held-out instructions, on topics that training never mentions, in a fixed random order."""
    items: dict[str, Item] = {}
    for family, seen in [*((f, True) for f in SEEN), *((f, False) for f in UNSEEN)]:
        rng = random.Random(f"{seed}/held-out/{family.__name__}")
        for item in _drawn(family, HELD_OUT_TOPICS, rng, HELD_OUT_PER_FAMILY):
            items[item["prompt"]] = {key: item[key] for key in item if key != "solution"} | {"seen": seen}
    ordered = list(items.values())
    random.Random(seed).shuffle(ordered)
    return [{"task_id": f"SmolInstruction/{i}", **item} for i, item in enumerate(ordered)]


def training(seed: int = 22) -> list[Item]:
    """Return training instructions with verified answers."""
    items = []
    for family in SEEN:
        rng = random.Random(f"{seed}/training/{family.__name__}")
        items += _drawn(family, TRAINING_TOPICS, rng, TRAINING_PER_FAMILY)
    return items


def _drawn(family: Family, topics: list[str], rng: random.Random, count: int) -> list[Item]:
    """Draw up to `count` items with different answers; a family with little to vary gives fewer."""
    items: dict[tuple[str, str], Item] = {}
    for _ in range(4 * count):
        topic = rng.choice(topics)
        prompt, constraints, solution = family(topic, rng)
        if not all_hold(constraints, solution) or not words(solution):
            raise ValueError(f"{family.__name__}: {solution!r} breaks {constraints}")
        found = {"prompt": prompt, "constraints": constraints, "solution": solution, "family": family.__name__}
        items.setdefault((prompt, solution), found)
        if len(items) == count:
            break
    return list(items.values())
