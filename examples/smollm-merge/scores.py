"""Score the base, the experts and a few linear merges on the three held-out benchmarks.

    python scores.py --base DIR [--adapters DIR] [--out scores.json]

Greedy, fp32. The merges show what the quickstart can hope to find; they choose nothing here.
"""

import argparse
import json
import random
from pathlib import Path
from typing import Any

import torch

from grading import grade, summary
from models import NEW_TOKENS, Merger, complete, deltas, load_base

HERE = Path(__file__).resolve().parent
SKILLS = ("code", "math", "instruction")
MERGES = {"linear (1/3 each)": 1 / 3, "task arithmetic (0.5 each)": 0.5, "task arithmetic (0.7 each)": 0.7,
          "sum (1.0 each)": 1.0}  # fmt: skip
Item = dict[str, Any]


def read_benchmark(skill: str) -> list[Item]:
    """Read the committed items of a skill."""
    lines = (HERE / "benchmarks" / f"{skill}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def outcomes(model: Any, tokenizer: Any) -> dict[str, list[bool]]:
    """Return the verdict on every item of every benchmark."""
    found = {}
    for skill in SKILLS:
        items = read_benchmark(skill)
        found[skill] = grade(skill, items, complete(model, tokenizer, skill, items))
    return found


def candidates() -> dict[str, dict[str, float]]:
    """Return what is scored: the weights of each expert's delta."""
    found: dict[str, dict[str, float]] = {"base": {}}
    found |= {f"{skill} expert": {skill: 1.0} for skill in SKILLS}
    return found | {name: dict.fromkeys(SKILLS, weight) for name, weight in MERGES.items()}


def gain(skill: str, base: list[bool], expert: list[bool], draws: int = 2000) -> Item:
    """Return the expert's gain on its own confirm items, which chose no recipe, with a paired bootstrap interval."""
    rng = random.Random(f"gain/{skill}")
    confirm = [item["split"] == "confirm" for item in read_benchmark(skill)]
    difference = [int(e) - int(b) for b, e, use in zip(base, expert, confirm, strict=True) if use]
    means = sorted(sum(rng.choices(difference, k=len(difference))) / len(difference) for _ in range(draws))
    interval = [round(means[int(draws * 0.025)], 4), round(means[int(draws * 0.975) - 1], 4)]
    return {"items": len(difference), "gain": round(sum(difference) / len(difference), 4), "interval": interval}


def score(base: Path, adapters: Path) -> Item:
    """Score every candidate."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, tokenizer = load_base(base, device)
    parts = {skill: deltas(adapters / skill, device) for skill in SKILLS}
    merger, verdicts = Merger(model), {}
    for name, weights in candidates().items():
        merger.set([(weight, parts[skill]) for skill, weight in weights.items()])
        verdicts[name] = outcomes(model, tokenizer)
        print(name, {skill: f"{sum(passed)}/{len(passed)}" for skill, passed in verdicts[name].items()}, flush=True)
    items = {skill: read_benchmark(skill) for skill in SKILLS}
    return {
        "protocol": {"decoding": "greedy", "dtype": "float32", "max_new_tokens": NEW_TOKENS},
        "gain": {s: gain(s, verdicts["base"][s], verdicts[f"{s} expert"][s]) for s in SKILLS},
        "scores": {name: {s: summary(items[s], found[s]) for s in SKILLS} for name, found in verdicts.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--adapters", type=Path, default=HERE / "adapters")
    parser.add_argument("--out", type=Path, default=HERE / "scores.json")
    options = parser.parse_args()
    result = score(options.base, options.adapters)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["gain"]))


if __name__ == "__main__":
    main()
