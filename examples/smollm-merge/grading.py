"""Grade completions of the three benchmarks, for the experts' own scores.

Code runs in a plain child process with a time limit and no sandbox, for the completions of the models made here
only; the product grades with its own sandbox. Scores are pass@1 of one greedy completion with Wilson intervals.
"""

import math
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from constraints import all_hold

STOPS = ("\nclass", "\ndef", "\n#", "\n@", "\nprint", "\nif", "\n```", "<file_sep>")
SECONDS = 10
Item = dict[str, Any]


def code_passes(item: Item, completion: str) -> bool:
    """Cut the completion at its earliest stop string and run the hidden tests on it."""
    cut = min((at for stop in STOPS if (at := completion.find(stop)) >= 0), default=len(completion))
    program = f"{item['prompt'].strip()}{completion[:cut]}\n\n{item['test']}\ncheck({item['entry_point']})\n"
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", program], capture_output=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def math_correct(item: Item, completion: str) -> bool:
    """Compare the last number of the completion with the answer."""
    numbers = re.findall(r"-?\d+(?:\.\d+)?", completion.replace(",", ""))
    return bool(numbers) and float(numbers[-1]) == float(item["answer"])


def instruction_met(item: Item, completion: str) -> bool:
    """Check every constraint."""
    return all_hold(item["constraints"], completion)


GRADERS = {"code": code_passes, "math": math_correct, "instruction": instruction_met}


def grade(skill: str, items: list[Item], completions: list[str]) -> list[bool]:
    """Grade one completion an item, in order."""
    with ThreadPoolExecutor(os.cpu_count() if skill == "code" else 1) as pool:
        return list(pool.map(GRADERS[skill], items, completions))


def wilson(passed: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion, 95 % by default."""
    if not total:
        return 0.0, 1.0
    rate, spread = passed / total, z * z / total
    middle = (rate + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(rate * (1 - rate) / total + spread / (4 * total))
    return middle - half, middle + half


def summary(items: list[Item], passed: list[bool]) -> Item:
    """Return the share passed with its interval: all items, by split, and seen and unseen families apart."""
    groups = {"all": [True] * len(items)}
    groups |= {name: [item["split"] == name for item in items] for name in ("search", "screen", "confirm")}
    groups |= {"seen": [item["seen"] for item in items], "unseen": [not item["seen"] for item in items]}
    return {name: _share([p for p, use in zip(passed, chosen, strict=True) if use]) for name, chosen in groups.items()}


def _share(passed: list[bool]) -> Item:
    low, high = wilson(sum(passed), len(passed))
    score = sum(passed) / max(1, len(passed))
    return {
        "passed": sum(passed),
        "of": len(passed),
        "score": round(score, 4),
        "interval": [round(low, 4), round(high, 4)],
    }
