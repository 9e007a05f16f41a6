"""Fill the code families in: problems in HumanEval's own format, held-out ones and training ones apart.

Expected outputs are computed by running the canonical solution, which is this tree's own template text.
What it does not do: judge a model's completion (see `grading`), or filter against public benchmarks (`decontaminate`).
"""

import itertools
import random
from string import Formatter
from typing import Any

from code_families import POOLS, SEEN, UNSEEN, WORDS, Family

ARG_NAMES = {
    "L": ("numbers", "values", "items", "nums", "data"),
    "S": ("text", "string", "line", "s"),
    "W": ("words", "names", "tokens"),
    "I": ("n", "number", "x", "value"),
    "D": ("table", "prices", "counts", "scores"),
}
SECOND_NAMES = {"L": "others", "S": "other", "I": "m"}
HIDDEN_TESTS = 8
SEEN_HELD_OUT = 3
UNSEEN_HELD_OUT = 3
TRAINING_PER_FAMILY = 44

Problem = dict[str, Any]


def benchmark(seed: int = 20) -> list[Problem]:
    """Return the held-out problems: some of every seen family and every unseen family."""
    problems = []
    for family, seen in [*((f, True) for f in SEEN), *((f, False) for f in UNSEEN)]:
        rng = random.Random(f"{seed}/held-out/{family.name}")
        held_out = parameter_sets(family, seed)[: SEEN_HELD_OUT if seen else UNSEEN_HELD_OUT]
        problems += [make_problem(family, params, rng) | {"seen": seen} for params in held_out]
    random.Random(seed).shuffle(problems)
    return [{"task_id": f"SmolCode/{i}", **problem} for i, problem in enumerate(problems)]


def training(seed: int = 20) -> list[Problem]:
    """Return training problems of the seen families, none with the parameters of a held-out one."""
    problems: dict[str, Problem] = {}
    for family in SEEN:
        rng = random.Random(f"{seed}/training/{family.name}")
        pool = parameter_sets(family, seed)[SEEN_HELD_OUT:]
        for params in itertools.islice(itertools.cycle(pool), TRAINING_PER_FAMILY):
            problem = make_problem(family, params, rng)
            problems.setdefault(problem["prompt"], problem)
    return list(problems.values())


def parameter_sets(family: Family, seed: int) -> list[dict[str, Any]]:
    """List the family's parameter values in a fixed random order; the first few are held out."""
    fields = {name for _, name, _, _ in Formatter().parse(family.body) if name} - {"x", "y"}
    used = sorted(field for field in fields if field in POOLS)
    sets = [dict(zip(used, values, strict=True)) for values in itertools.product(*(POOLS[name] for name in used))]
    random.Random(f"{seed}/parameters/{family.name}").shuffle(sets)
    return sets[:400]


def make_problem(family: Family, params: dict[str, Any], rng: random.Random) -> Problem:
    """Write one problem: prompt, entry point, canonical solution, hidden tests and their inputs."""
    name = rng.choice(family.names)
    args = [rng.choice(ARG_NAMES[family.args[0]])] + [SECOND_NAMES[kind] for kind in family.args[1:]]
    fill = {"x": args[0], "y": args[-1], **params}
    solution = f"    {family.body.format(**fill)}\n"
    header = f"def {name}({', '.join(args)}):\n"
    run = reference(header + solution, name)
    inputs = draw_inputs(family, params, run, rng)
    shown, hidden = inputs[: rng.choice((1, 2))], inputs[2:]
    examples = "".join(f"    >>> {name}({_listed(case)})\n    {run(*case)!r}\n" for case in shown)
    asserts = "".join(f"    assert candidate({_listed(case)}) == {run(*case)!r}\n" for case in hidden)
    return {
        "prompt": f'{header}    """{rng.choice(family.docs).format(**fill)}\n\n{examples}    """\n',
        "entry_point": name,
        "canonical_solution": solution,
        "test": f"def check(candidate):\n{asserts}",
        "base_input": [list(case) for case in hidden],
        "family": family.name,
    }


def reference(source: str, name: str) -> Any:
    """Compile a canonical solution and return its function."""
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    return namespace[name]


def draw_inputs(family: Family, params: dict[str, Any], run: Any, rng: random.Random) -> list[tuple[Any, ...]]:
    """Draw two examples and the hidden inputs, all different, whose outputs are not all the same."""
    for attempt in range(200):
        cases: dict[str, tuple[Any, ...]] = {}
        while len(cases) < HIDDEN_TESTS + 2:
            size = rng.randint(2, 4) if len(cases) < 2 else rng.randint(0, 8)
            case = tuple(_draw(kind, params, size, rng) for kind in family.args)
            cases.setdefault(repr(case), case)
        chosen = list(cases.values())
        shown, hidden = ({repr(run(*case)) for case in part} for part in (chosen[:2], chosen[2:]))
        telling = len(shown) == 2 and repr(run(*chosen[0])) != repr(chosen[0][0])
        if len(hidden) > 1 and (telling or attempt > 100):
            return chosen
    raise ValueError(f"family {family.name}: no inputs tell its outputs apart with {params}")


def _draw(kind: str, params: dict[str, Any], size: int, rng: random.Random) -> Any:
    if kind == "L":
        return [_integer(params, rng) for _ in range(size)]
    if kind == "I":
        return abs(_integer(params, rng))
    if kind == "W":
        return [_word(params, rng) for _ in range(size)]
    if kind == "D":
        return {_word(params, rng): _integer(params, rng) for _ in range(min(size, 3))}
    return " ".join(_word(params, rng) for _ in range(rng.randint(1, max(1, size // 2))))


def _integer(params: dict[str, Any], rng: random.Random) -> int:
    """Draw a number; half of the time one that matters to the parameters."""
    marks = [value for value in params.values() if isinstance(value, int)]
    if not marks or rng.random() < 0.5:
        return rng.randint(-9 if rng.random() < 0.2 else 0, 99)
    mark = rng.choice(marks)
    return rng.choice((mark, mark + 1, mark - 1, mark * rng.randint(1, 5)))


def _word(params: dict[str, Any], rng: random.Random) -> str:
    """Draw a word; half of the time one that matters to the parameters."""
    letter = params.get("c")
    if "w" in params and rng.random() < 0.4:
        return str(params["w"])
    word = rng.choice(WORDS)
    if letter is None or rng.random() < 0.5:
        return word
    return rng.choice((letter + word, word + letter, word[:2] + letter + word[2:]))


def _listed(case: tuple[Any, ...]) -> str:
    return ", ".join(map(repr, case))
