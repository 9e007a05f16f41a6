"""Compare the training variants on the `search` split and name the one to keep.

    python choose.py calm=FILE brisk=FILE bold=FILE      # each FILE written by scores.py; writes variants.json

The rule: the highest mean of what each expert scores on its own skill and of the best listed merge's mean score. Only
`search` items count, so `screen` and `confirm` choose nothing.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scores import MERGES, SKILLS
from train import VARIANTS

HERE = Path(__file__).resolve().parent
Item = dict[str, Any]


def search_scores(scores: Item, name: str) -> dict[str, float]:
    """Return a candidate's score on each skill's search items."""
    return {skill: scores[name][skill]["search"]["score"] for skill in SKILLS}


def compared(result: Item) -> Item:
    """Return what a variant is judged by."""
    scores = result["scores"]
    own = {skill: search_scores(scores, f"{skill} expert")[skill] for skill in SKILLS}
    merges = {name: round(sum(search_scores(scores, name).values()) / len(SKILLS), 4) for name in MERGES}
    mean = (sum(own.values()) / len(own) + max(merges.values())) / 2
    return {"own skill": own, "merges, mean of skills": merges, "judged by": round(mean, 4)}


def main() -> None:
    found: Item = {}
    for argument in sys.argv[1:]:
        name, _, file = argument.partition("=")
        found[name] = {"recipe": asdict(VARIANTS[name])} | compared(json.loads(Path(file).read_text()))
    if not found:
        raise SystemExit(__doc__)
    kept = max(found, key=lambda name: float(found[name]["judged by"]))
    text = json.dumps({"split": "search", "kept": kept, "variants": found}, indent=1)
    (HERE / "variants.json").write_text(text + "\n")
    print(kept)


if __name__ == "__main__":
    main()
