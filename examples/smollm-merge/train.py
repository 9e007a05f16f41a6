"""Train one expert: a LoRA adapter of the base on one skill's training set, from fixed seeds.

    python train.py --base DIR --data DIR --skill code --out DIR [--variant bold]

Writes OUT/<skill>/ with the adapter in bf16, its configuration and `training.json`. Runs on a GPU where there is one;
the values of an adapter depend on the device and library versions that made it, which the log records.
"""

import argparse
import hashlib
import json
import math
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from safetensors.torch import load_file, save_file

from models import input_ids, load_base

BASE_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
IGNORED = -100
Item = dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """The hyper-parameters of one training run."""

    learning_rate: float
    epochs: int
    rank: int = 8
    alpha: int = 16
    dropout: float = 0.05
    batch: int = 32
    warmup: float = 0.05
    weight_decay: float = 0.01
    seed: int = 7


# the committed adapters are `bold`: `choose.py` compared the three on the search split (variants.json)
VARIANTS = {"calm": Recipe(3e-4, 3), "brisk": Recipe(8e-4, 3), "bold": Recipe(2e-3, 4)}


def examples(path: Path, skill: str, tokenizer: Any, eos: int) -> list[tuple[list[int], list[int]]]:
    """Tokenize every training item as (prompt, completion); code goes on from the stripped prompt."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        item = json.loads(line)
        taught = "\n" + item["canonical_solution"] if skill == "code" else item["solution"]
        completion = tokenizer(taught, add_special_tokens=False)["input_ids"] + [eos]
        found.append((input_ids(tokenizer, skill, item["prompt"]), completion))
    return found


def batches(data: list[tuple[list[int], list[int]]], recipe: Recipe) -> list[list[tuple[list[int], list[int]]]]:
    """Return the batches of all epochs, each epoch in its own order."""
    rng = random.Random(recipe.seed)
    found = []
    for _ in range(recipe.epochs):
        order = rng.sample(data, len(data))
        found += [order[i : i + recipe.batch] for i in range(0, len(order), recipe.batch)]
    return found


def collate(batch: list[tuple[list[int], list[int]]], pad: int, device: str) -> dict[str, torch.Tensor]:
    """Pad a batch on the right; only completions carry a label."""
    width = max(len(prompt) + len(completion) for prompt, completion in batch)
    rows, labels, mask = [], [], []
    for prompt, completion in batch:
        rest = width - len(prompt) - len(completion)
        rows.append(prompt + completion + [pad] * rest)
        labels.append([IGNORED] * len(prompt) + completion + [IGNORED] * rest)
        mask.append([1] * (width - rest) + [0] * rest)
    named = {"input_ids": rows, "labels": labels, "attention_mask": mask}
    return {name: torch.tensor(value, device=device) for name, value in named.items()}


def schedule(step: int, steps: int, warmup: float) -> float:
    """Return the share of the learning rate: a linear rise, then a cosine to zero."""
    rise = max(1, int(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def fit(model: Any, plan: list[list[tuple[list[int], list[int]]]], recipe: Recipe, pad: int) -> list[Item]:
    """Run the optimization; return the loss every ten steps."""
    device = next(model.parameters()).device.type
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step, len(plan), recipe.warmup))
    log: list[Item] = []
    model.train()
    for step, batch in enumerate(plan):
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = model(**collate(batch, pad, device)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        rate.step()
        if step % 10 == 0 or step == len(plan) - 1:
            log.append({"step": step, "loss": round(loss.item(), 4)})
    return log


def save(model: Any, out: Path) -> None:
    """Save the adapter in bf16, naming the base by its public name."""
    model.save_pretrained(out)
    file = out / "adapter_model.safetensors"
    save_file({name: value.bfloat16() for name, value in load_file(file).items()}, file, {"format": "pt"})
    (out / "README.md").unlink(missing_ok=True)
    config = json.loads((out / "adapter_config.json").read_text())
    config |= {"base_model_name_or_path": BASE_NAME, "target_modules": sorted(config["target_modules"])}
    (out / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def train(base: Path, data: Path, skill: str, recipe: Recipe, out: Path) -> Item:
    """Train and save one adapter; return its log."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    started = time.time()
    model, tokenizer = load_base(base, device)
    eos = model.config.eos_token_id
    file = data / f"{skill}.jsonl"
    plan = batches(examples(file, skill, tokenizer, eos), recipe)
    torch.manual_seed(recipe.seed)
    lora = peft.LoraConfig(
        r=recipe.rank, lora_alpha=recipe.alpha, lora_dropout=recipe.dropout, target_modules=TARGETS,
        task_type="CAUSAL_LM",
    )  # fmt: skip
    losses = fit(adapted := peft.get_peft_model(model, lora), plan, recipe, eos)
    save(adapted, out / skill)
    versions = {module.__name__: module.__version__ for module in (torch, transformers, peft)}
    log = {
        "skill": skill,
        "recipe": asdict(recipe),
        "data_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "versions": versions,
        "steps": len(plan),
        "seconds": round(time.time() - started, 1),
        "losses": losses,
    }
    (out / skill / "training.json").write_text(json.dumps(log, indent=1) + "\n")
    return log


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--base", "--data", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--skill", choices=("code", "math", "instruction"), required=True)
    parser.add_argument("--variant", choices=VARIANTS, default="bold")
    options = parser.parse_args()
    log = train(options.base, options.data, options.skill, VARIANTS[options.variant], options.out)
    print(options.variant, options.skill, log["steps"], "steps", log["seconds"], "s", log["losses"][-1])


if __name__ == "__main__":
    main()
