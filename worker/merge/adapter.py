"""Reads LoRA adapters in peft's format and gives the weight update each one makes: scale · B @ A.

Plain LoRA on linear layers and fully trained modules are understood; every other variant is refused by name, because
folding it in as if it were plain LoRA would silently make another model.
"""

import math
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from core.errors import InvalidInputError
from worker.merge.checkpoint import Checkpoint, read_json

_PREFIX = "base_model.model."
_FACTOR = re.compile(r"^(?P<module>.+)\.lora_(?P<side>[AB])(?:\.default)?\.weight$")
_UNSUPPORTED = ("use_dora", "use_qalora", "alora_invocation_tokens", "target_parameters", "trainable_token_indices")


@dataclass(frozen=True)
class LoraAdapter:
    """An adapter directory, opened: nothing but the names and its config has been read."""

    path: Path
    config: dict[str, Any]
    names: tuple[str, ...]

    @classmethod
    def open(cls, path: str | Path) -> "LoraAdapter":
        """Read an adapter's config and names; raise InvalidInputError for what is not plain LoRA in safetensors."""
        directory = Path(path)
        if not directory.is_dir():
            raise InvalidInputError(f"There is no adapter directory {str(path)!r}.")
        config = read_json(directory / "adapter_config.json")
        problems = [key for key in _UNSUPPORTED if config.get(key)]
        if config.get("peft_type") != "LORA" or problems or config.get("bias", "none") != "none":
            what = ", ".join(problems) or f"peft_type {config.get('peft_type')}, bias {config.get('bias')}"
            raise InvalidInputError(
                f"{directory} is not a plain LoRA adapter ({what}).", fix="Merge it with peft first."
            )
        weights = directory / "adapter_model.safetensors"
        if not weights.is_file():
            raise InvalidInputError(f"{directory} has no adapter_model.safetensors; pickle files are never opened.")
        try:
            with safe_open(weights, framework="pt") as file:
                names = tuple(sorted(file.keys()))
        except SafetensorError as error:
            raise InvalidInputError(f"{weights} is not a safetensors file: {error}") from error
        return cls(directory, config, names)

    @property
    def base_name(self) -> str | None:
        """Return the model this adapter says it was trained on."""
        name = self.config.get("base_model_name_or_path")
        return str(name) if name else None

    @cached_property
    def factors(self) -> dict[str, dict[str, str]]:
        """Return, by weight name in the base, the stored names of its factors A and B."""
        found: dict[str, dict[str, str]] = {}
        for name in self.names:
            if match := _FACTOR.match(name):
                weight = match["module"].removeprefix(_PREFIX) + ".weight"
                found.setdefault(weight, {})[match["side"]] = name
        return found

    @cached_property
    def replacements(self) -> dict[str, str]:
        """Return, by weight name in the base, the stored names of fully trained weights (modules_to_save)."""
        factors = {stored for sides in self.factors.values() for stored in sides.values()}
        return {
            name.removeprefix(_PREFIX).replace(".modules_to_save.default", "").replace(".modules_to_save", ""): name
            for name in self.names
            if name not in factors
        }

    @property
    def targets(self) -> tuple[str, ...]:
        """Return the names of the base's weights that this adapter changes."""
        return tuple(sorted({*self.factors, *self.replacements}))

    def problems(self, base: Checkpoint) -> list[str]:
        """Return why this adapter does not fit the base: unknown weights, half pairs, or other shapes."""
        found = [f"{name!r} is not in the base" for name in self.targets if name not in base.headers]
        with safe_open(self.path / "adapter_model.safetensors", framework="pt") as file:
            for name, sides in self.factors.items():
                if set(sides) != {"A", "B"}:
                    found.append(f"{name!r} has only lora_{next(iter(sides))}")
                elif name in base.headers:
                    a, b = (tuple(file.get_slice(sides[s]).get_shape()) for s in "AB")
                    made = (b[0], a[1])[:: -1 if self.config.get("fan_in_fan_out") else 1]
                    if made != base.headers[name].shape or a[0] != b[1]:
                        found.append(f"{name!r} is {base.headers[name].shape} in the base, {made} in the adapter")
            for name, stored in self.replacements.items():
                shape = tuple(file.get_slice(stored).get_shape())
                if name in base.headers and shape != base.headers[name].shape:
                    found.append(f"{name!r} is {base.headers[name].shape} in the base, {shape} in the adapter")
        return found

    def scale(self, weight: str) -> float:
        """Return the factor before B @ A, with peft's rank and alpha patterns and rank-stabilized scaling."""
        module = weight.removesuffix(".weight")
        rank = _by_pattern(self.config.get("rank_pattern") or {}, module, self.config["r"])
        alpha = _by_pattern(self.config.get("alpha_pattern") or {}, module, self.config["lora_alpha"])
        return alpha / math.sqrt(rank) if self.config.get("use_rslora") else alpha / rank

    def fold(self, weight: str, tensor: torch.Tensor) -> torch.Tensor:
        """Return the base's tensor with this adapter merged in: computed in fp32, in the base's dtype."""
        sides, replaced = self.factors.get(weight), self.replacements.get(weight)
        if sides is None and replaced is None:
            return tensor
        with safe_open(self.path / "adapter_model.safetensors", framework="pt") as file:
            if sides is None:
                return file.get_tensor(replaced).to(tensor.dtype)
            a, b = (file.get_tensor(sides[side]).to(torch.float32) for side in "AB")
        update = (b @ a) * self.scale(weight)
        if self.config.get("fan_in_fan_out"):
            update = update.T
        return (tensor.to(torch.float32) + update).to(tensor.dtype)


def _by_pattern(patterns: dict[str, float], module: str, default: float) -> float:
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default
