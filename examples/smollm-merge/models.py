"""The base, its adapters and their linear merges as plain models, and greedy generation with them.

An expert is the base plus its adapter's product, in fp32: what the product's own merging computes on.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

NEW_TOKENS = {"code": 64, "math": 96, "instruction": 64}
PREFIX = "base_model.model."
Item = dict[str, Any]


def load_base(folder: Path, device: str) -> tuple[Any, Any]:
    """Load model (fp32) and tokenizer; padding goes to the left, as generation needs."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.padding_side = "left"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device).eval()
    return model, tokenizer


def deltas(adapter: Path, device: str) -> dict[str, torch.Tensor]:
    """Return what a LoRA adapter adds to each weight: scale times B A, in fp32."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    scale = config["lora_alpha"] / config["r"]
    state = {name: value.float().to(device) for name, value in load_file(adapter / "adapter_model.safetensors").items()}
    found = {}
    for name, a in state.items():
        if name.endswith(".lora_A.weight"):
            module = name.removesuffix(".lora_A.weight")
            found[module.removeprefix(PREFIX) + ".weight"] = scale * state[f"{module}.lora_B.weight"] @ a
    return found


class Merger:
    """Sets a model to its base plus weighted deltas, in place and always from the base's own values."""

    def __init__(self, model: Any) -> None:
        self._parameters = dict(model.named_parameters())
        self._base = {name: value.detach().clone() for name, value in self._parameters.items()}

    @torch.no_grad()
    def set(self, parts: list[tuple[float, dict[str, torch.Tensor]]]) -> None:
        """Set every parameter to base + sum of weight times delta."""
        for name, parameter in self._parameters.items():
            parameter.copy_(self._base[name])
            for weight, part in parts:
                if name in part:
                    parameter.add_(part[name], alpha=weight)


def input_ids(tokenizer: Any, skill: str, prompt: str) -> list[int]:
    """Tokenize a prompt as it is used in training and at inference: code raw and stripped, the rest as a chat."""
    if skill == "code":
        return list(tokenizer(prompt.strip())["input_ids"])
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False
    )
    return list(tokenizer(chat, add_special_tokens=False)["input_ids"])


@torch.inference_mode()
def complete(model: Any, tokenizer: Any, skill: str, items: list[Item], batch: int = 320) -> list[str]:
    """Complete every item greedily, in batches of similar length."""
    prompts = [input_ids(tokenizer, skill, item["prompt"]) for item in items]
    order = sorted(range(len(items)), key=lambda i: len(prompts[i]))
    found = [""] * len(items)
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        width = max(len(prompts[i]) for i in chosen)
        pad = model.config.eos_token_id
        ids = torch.tensor([[pad] * (width - len(prompts[i])) + prompts[i] for i in chosen], device=model.device)
        mask = torch.tensor(
            [[0] * (width - len(prompts[i])) + [1] * len(prompts[i]) for i in chosen], device=model.device
        )
        out = model.generate(
            input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=NEW_TOKENS[skill], pad_token_id=pad
        )
        for i, row in zip(chosen, out[:, width:], strict=True):
            found[i] = tokenizer.decode(row, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return found
