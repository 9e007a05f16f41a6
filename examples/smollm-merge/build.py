"""Write the three benchmarks, and on request the training sets that share nothing with them.

    python build.py                                   # benchmarks/*.jsonl
    python build.py --training DIR --public DATA      # and DIR/*.jsonl and decontamination.json

DATA holds the public benchmarks to keep out (see `decontaminate`). Every file follows from fixed seeds, but for the
library functions, which also depend on the versions of the packages installed.
"""

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import code_problems
import decontaminate
import instructions
import library_functions
import math_problems

HERE = Path(__file__).resolve().parent
SKILLS = {"code": code_problems, "math": math_problems, "instruction": instructions}
SPLITS = (("search", 0.3), ("screen", 0.3), ("confirm", 0.4))
Item = dict[str, Any]


def split(items: list[Item]) -> list[Item]:
    """Give every item a split; items come in random order, so the first share is as good as any."""
    ends, total = [], 0.0
    for name, share in SPLITS:
        total += share
        ends.append((name, round(total * len(items))))
    return [item | {"split": next(name for name, end in ends if i < end)} for i, item in enumerate(items)]


def benchmark(skill: str) -> list[Item]:
    """Return the held-out items of a skill with their splits."""
    return split(SKILLS[skill].benchmark())


def training(skill: str, index: decontaminate.Index, library: list[Item]) -> tuple[list[Item], Item]:
    """Return the clean training items of a skill and an account of what was dropped."""
    drawn = SKILLS[skill].training() + (library if skill == "code" else [])
    kept, dropped = decontaminate.cleaned(drawn, index)
    held_out = SKILLS[skill].benchmark()
    account: Item = {"drawn": len(drawn), "kept": len(kept), "dropped": dropped, "held_out": len(held_out)}
    prompts = {item["prompt"] for item in kept} & {item["prompt"] for item in held_out}
    account["prompts_shared_with_held_out"] = len(prompts)
    if skill == "code":
        answers = {item["canonical_solution"] for item in kept} & {item["canonical_solution"] for item in held_out}
        account["solutions_shared_with_held_out"] = len(answers)
    return kept, account


def to_lines(items: list[Item]) -> str:
    """Write items as JSON Lines."""
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)


def write_training(folder: Path, public: Path) -> None:
    """Write the training sets into `folder`, and the report of the check beside this file."""
    folder.mkdir(parents=True, exist_ok=True)
    index = decontaminate.public_index(public)
    library = library_functions.training()
    report: Item = {"rule": f"equal text, shared {decontaminate.NGRAM}-gram of tokens, or same function name"}
    report |= {"public": index.sources, "training": {}}
    for skill in SKILLS:
        kept, account = training(skill, index, library)
        text = to_lines(kept)
        (folder / f"{skill}.jsonl").write_text(text, encoding="utf-8")
        report["training"][skill] = account | {"sha256": hashlib.sha256(text.encode()).hexdigest()}
    clean, _ = decontaminate.cleaned(library, index)
    report["library"] = library_functions.provenance(clean)
    (HERE / "decontamination.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--benchmarks", type=Path, default=HERE / "benchmarks")
    parser.add_argument("--training", type=Path, help="folder for the training sets")
    parser.add_argument("--public", type=Path, help="folder of the public benchmarks to keep out")
    options = parser.parse_args()
    if options.training and not options.public:
        parser.error("--training needs --public: training sets are only written after the check against them")
    options.benchmarks.mkdir(parents=True, exist_ok=True)
    for skill in SKILLS:
        (options.benchmarks / f"{skill}.jsonl").write_text(to_lines(benchmark(skill)), encoding="utf-8")
    if options.training:
        write_training(options.training, options.public)


if __name__ == "__main__":
    main()
