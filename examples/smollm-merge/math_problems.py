"""Short word problems of one or two steps: held-out ones and training ones, whole families apart.

A problem is a story with open names, things and numbers, and the arithmetic that answers it. The taught style is a
brief chain that ends in the answer; what is graded is the last number alone.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

PEOPLE = [
    "Ana",
    "Ben",
    "Cara",
    "Dan",
    "Ella",
    "Finn",
    "Gina",
    "Hugo",
    "Iris",
    "Jack",
    "Kira",
    "Leo",
    "Mia",
    "Noah",
    "Olga",
    "Paul",
    "Rosa",
    "Sam",
    "Tara",
    "Vera",
    "Will",
    "Yuri",
]
THINGS = [
    "apples",
    "books",
    "coins",
    "cards",
    "marbles",
    "pens",
    "stamps",
    "shells",
    "cookies",
    "eggs",
    "pencils",
    "stickers",
    "roses",
    "candles",
    "buttons",
    "balls",
    "muffins",
    "oranges",
    "photos",
    "ribbons",
    "tickets",
    "toys",
    "cups",
    "keys",
    "plums",
]
HELD_OUT_PER_FAMILY = 10
TRAINING_PER_FAMILY = 260
Item = dict[str, Any]
Numbers = tuple[int, ...]


@dataclass(frozen=True)
class Story:
    """A family: its wordings, how its numbers are drawn, and the steps that lead to the answer."""

    name: str
    texts: tuple[str, ...]
    draw: Callable[[random.Random], Numbers]
    steps: Callable[[Numbers], list[str]]


def _pair(rng: random.Random) -> Numbers:
    return rng.randint(5, 60), rng.randint(5, 40)


def _falling(rng: random.Random) -> Numbers:
    a = rng.randint(20, 90)
    return a, rng.randint(3, a - 5)


def _factors(rng: random.Random) -> Numbers:
    return rng.randint(3, 12), rng.randint(3, 12)


def _factors_and(rng: random.Random) -> Numbers:
    return rng.randint(3, 9), rng.randint(3, 9), rng.randint(2, 20)


def _factors_less(rng: random.Random) -> Numbers:
    a, b = rng.randint(3, 9), rng.randint(3, 9)
    return a, b, rng.randint(2, a * b - 2)


def _shares(rng: random.Random) -> Numbers:
    b, answer = rng.randint(2, 9), rng.randint(3, 12)
    return b * answer, b


def _sum_then_less(rng: random.Random) -> Numbers:
    a, b = rng.randint(6, 40), rng.randint(6, 40)
    return a, b, rng.randint(3, a + b - 2)


def _three(rng: random.Random) -> Numbers:
    return rng.randint(4, 30), rng.randint(4, 30), rng.randint(4, 30)


def _sum_shared(rng: random.Random) -> Numbers:
    c, answer = rng.randint(2, 6), rng.randint(4, 12)
    a = rng.randint(2, c * answer - 2)
    return a, c * answer - a, c


def chain(pattern: str) -> Callable[[Numbers], list[str]]:
    """Return the steps of a pattern such as `a * b; . + c`, where the dot is the step before."""

    def steps(numbers: Numbers) -> list[str]:
        values = dict(zip("abcd", numbers, strict=False))
        shown, last = [], 0
        for step in pattern.split("; "):
            left, operator, right = step.split()
            x = last if left == "." else values[left]
            y = last if right == "." else int(right) if right.isdigit() else values[right]
            last = {"+": x + y, "-": x - y, "*": x * y, "/": x // y}[operator]
            shown.append(f"{x} {operator} {y} = {last}")
        return shown

    return steps


def _story(name: str, draw: Callable[[random.Random], Numbers], pattern: str, *texts: str) -> Story:
    return Story(name, texts, draw, chain(pattern))


SEEN = (
    _story(
        "gain",
        _pair,
        "a + b",
        "{P} has {a} {t}. {Q} gives {P} {b} more. How many {t} does {P} have now?",
        "There are {a} {t} in a box. {P} puts in {b} more. How many {t} are in the box?",
    ),
    _story(
        "loss",
        _falling,
        "a - b",
        "{P} has {a} {t} and gives {b} of them to {Q}. How many {t} are left?",
        "A shop has {a} {t} and sells {b}. How many {t} does it still have?",
    ),
    _story(
        "groups",
        _factors,
        "a * b",
        "{P} fills {a} bags with {b} {t} each. How many {t} is that?",
        "There are {a} boxes with {b} {t} in each. How many {t} are there in all?",
    ),
    _story(
        "share",
        _shares,
        "a / b",
        "{P} shares {a} {t} equally among {b} friends. How many {t} does each get?",
        "{a} {t} are put into {b} equal piles. How many {t} are in a pile?",
    ),
    _story("more_than", _falling, "a - b", "{P} has {a} {t}. {Q} has {b}. How many more {t} does {P} have than {Q}?"),
    _story("cost", _factors, "a * b", "One of the {t} costs {a} dollars. How much do {b} of them cost?"),
    _story(
        "groups_and",
        _factors_and,
        "a * b; . + c",
        "{P} buys {a} packs of {b} {t} and finds {c} more. How many {t} does {P} have?",
        "{P} has {a} boxes of {b} {t} and {c} loose ones. How many {t} is that in total?",
    ),
    _story(
        "groups_less",
        _factors_less,
        "a * b; . - c",
        "{P} makes {a} rows of {b} {t}, then takes {c} away. How many {t} remain?",
        "{P} has {a} bags of {b} {t} and gives {c} to {Q}. How many {t} does {P} keep?",
    ),
    _story(
        "gain_loss",
        _sum_then_less,
        "a + b; . - c",
        "{P} has {a} {t}, gets {b} more and loses {c}. How many {t} does {P} have now?",
        "{P} picks {a} {t} and {Q} picks {b}. They eat {c}. How many {t} are left?",
    ),
    _story(
        "three_days",
        _three,
        "a + b; . + c",
        "{P} finds {a} {t} on Monday, {b} on Tuesday and {c} on Friday. How many {t} in total?",
    ),
    _story(
        "joint_share",
        _sum_shared,
        "a + b; . / c",
        "{P} has {a} {t} and {Q} has {b}. They share all of them equally among {c} people. How many {t} does each get?",
    ),
    _story(
        "more_and_total",
        _pair,
        "a + b; a + .",
        "{P} has {a} {t}. {Q} has {b} more than {P}. How many {t} do they have together?",
    ),
)
UNSEEN = (
    _story("gain_twice", _three, "a + b; . + c",
           "{P} starts with {a} {t}. Then {Q} brings {b}, and later {c} more. How many {t} are there now?"),
    _story("pages", _factors_less, "a * b; . - c",
           "A book has {a} chapters of {b} pages. {P} tore out {c} pages. How many pages are left?"),
    _story("before", _pair, "a + b", "After giving away {a} {t}, {P} has {b} left. How many {t} did {P} have before?"),
    _story("needed", _falling, "a - b", "{P} needs {a} {t} and has {b}. How many more {t} does {P} need?"),
    _story("change", _factors_less, "a * b; . - c",
           "{P} earns {a} dollars a day for {b} days and spends {c} dollars. How many dollars are left?"),
    _story("twice", _pair, "a * 2; . + b",
           "{Q} has twice as many {t} as {P}, who has {a}. {Q} finds {b} more. How many {t} does {Q} have?"),
)  # fmt: skip


def answer_text(steps: list[str]) -> str:
    """Write the taught answer: the steps, then the number."""
    return f"{'. '.join(steps)}. The answer is {steps[-1].split()[-1]}."


def problems(story: Story, rng: random.Random) -> Iterator[Item]:
    """Draw problems of one family without end."""
    while True:
        numbers = story.draw(rng)
        person, other = rng.sample(PEOPLE, 2)
        steps = story.steps(numbers)
        fill = {"P": person, "Q": other, "t": rng.choice(THINGS), **dict(zip("abcd", numbers, strict=False))}
        yield {
            "prompt": rng.choice(story.texts).format(**fill),
            "answer": steps[-1].split()[-1],
            "solution": answer_text(steps),
            "family": story.name,
            "numbers": numbers,
        }


def _taken(story: Story, rng: random.Random, count: int, refuse: set[Numbers]) -> Iterator[Item]:
    """Take `count` problems of which no two share their prompt and none uses refused numbers."""
    prompts: set[str] = set()
    for item in problems(story, rng):
        if item["numbers"] not in refuse and item["prompt"] not in prompts:
            prompts.add(item["prompt"])
            yield item
        if len(prompts) == count:
            return


def _held_out(seed: int) -> list[Item]:
    items = []
    for story, seen in [*((s, True) for s in SEEN), *((s, False) for s in UNSEEN)]:
        rng = random.Random(f"{seed}/held-out/{story.name}")
        items += [item | {"seen": seen} for item in _taken(story, rng, HELD_OUT_PER_FAMILY * (1 if seen else 2), set())]
    return items


def benchmark(seed: int = 21) -> list[Item]:
    """Return the held-out problems in a fixed random order."""
    items = _held_out(seed)
    random.Random(seed).shuffle(items)
    kept = ({key: value for key, value in item.items() if key != "numbers"} for item in items)
    return [{"task_id": f"SmolMath/{i}", **item} for i, item in enumerate(kept)]


def training(seed: int = 21) -> list[Item]:
    """Return training problems of the seen families; within a family no held-out numbers come back."""
    held_out = _held_out(seed)
    items: list[Item] = []
    for story in SEEN:
        rng = random.Random(f"{seed}/training/{story.name}")
        refuse = {item["numbers"] for item in held_out if item["family"] == story.name}
        items += _taken(story, rng, TRAINING_PER_FAMILY, refuse)
    return items
