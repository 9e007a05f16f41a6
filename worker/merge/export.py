"""Writes a merged candidate as an HF checkpoint: sharded safetensors, config, tokenizer, chat template, mergekit YAML
and a model card.

The YAML names the models by the paths they were loaded from, computes in fp32 and stores in the base's dtype, so that
`mergekit-yaml` run on it gives the same tensors; statistics that a recipe can't spell out lie beside it.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from core.errors import InvalidInputError
from core.recipes import reference
from core.types.sow import Models
from worker.merge.apply import merge_tensors, resolve
from worker.merge.apply_rules import ordered_names, stays_base
from worker.merge.bank import BASE, ExpertBank
from worker.merge.checkpoint import TOKENIZER_FILES
from worker.merge.context import Calibration, HeldStatistics, Resolution
from worker.merge.model_card import model_card
from worker.merge.plan import MergePlan
from worker.merge.statistics_file import STATISTICS_FILE, write_statistics
from worker.merge.targets import checksum

if TYPE_CHECKING:
    from core.types.recipe import Recipe

RECIPE_FILE = "mergekit_config.yml"
_SHARD_BYTES = 5 * 10**9


@dataclass(frozen=True)
class ExportReport:
    """Where a candidate lies and what it is."""

    path: Path
    checksum: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class ExportOptions:
    """How to write: the size of a shard, a chat template of its own, and the model that preparation may run.

    `statistics_bytes` bounds the file of statistics that lets mergekit repeat a calibrated method; 0 writes none.
    """

    shard_bytes: int = _SHARD_BYTES
    chat_template: str | None = None
    model: nn.Module | None = None
    calibration: Calibration | None = None
    name: str = "merged"
    statistics_bytes: int = 2 * 10**9


def export(bank: ExpertBank, recipe: "Recipe", out: Path, options: ExportOptions | None = None) -> ExportReport:
    """Write the recipe's merge to `out`; raise InvalidInputError for a bank without files or a directory in use."""
    options = options or ExportOptions()
    if BASE not in bank.references:
        raise InvalidInputError("Only a bank that was loaded from checkpoints can be exported.")
    if out.exists() and any(out.iterdir()):
        raise InvalidInputError(f"{out} is not empty.", fix="Export to a new directory.")
    out.mkdir(parents=True, exist_ok=True)
    resolution = resolve(recipe.config, bank, options.model, options.calibration)
    digest = write_shards(merge_tensors(bank, resolution), out, options.shard_bytes)
    resolution = _with_statistics(resolution, bank, out, options)
    _copy_companions(Path(bank.references[BASE].path), out, resolution.plan, options)
    text = portable_yaml(resolution, bank)
    (out / RECIPE_FILE).write_text(text)
    (out / "README.md").write_text(model_card(resolution.plan, bank, text, options.name))
    return ExportReport(out, digest, tuple(sorted(p.name for p in out.iterdir())))


def _with_statistics(resolution: Resolution, bank: ExpertBank, out: Path, options: ExportOptions) -> Resolution:
    """Write statistics that were kept beside the model and name the file in the recipe, where they are not too large.

    Grams exist one layer at a time while merging: they are collected anew for the file.
    """
    plan = resolution.plan
    if not plan.method.statistics or options.statistics_bytes <= 0:
        return resolution
    held = isinstance(resolution.statistics, HeldStatistics)
    again = resolution if held else resolve(plan.config, bank, options.model, options.calibration)
    names = [n for n in ordered_names(plan, bank.names) if not stays_base(plan, n)]
    if write_statistics(again, bank, names, (out / STATISTICS_FILE, options.statistics_bytes)):
        shared = {**plan.shared, "statistics": str((out / STATISTICS_FILE).resolve())}
        return replace(resolution, plan=replace(plan, shared=shared))
    return resolution


def portable_yaml(resolution: Resolution, bank: ExpertBank) -> str:
    """Return the resolved recipe as YAML that mergekit runs on the same files."""
    plan = resolution.plan
    config: dict[str, Any] = {"merge_method": plan.method.name}
    if plan.base is not None:
        config["base_model"] = str(bank.references[plan.base])
    config["models"] = [_entry(name, plan, bank) for name in plan.inputs]
    if plan.shared:
        config["parameters"] = dict(plan.shared)
    config["dtype"] = "float64" if plan.dtype is torch.float64 else "float32"
    config["out_dtype"] = str(plan.out_dtype).removeprefix("torch.")
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True)


def name_models(out: Path, names: Mapping[str, str], models: Models) -> None:
    """Name an export's models as the SoW does, not by this machine's paths (`names`: path -> the bank's name)."""
    public = {m.name: reference(m) for m in models.experts} | {BASE: reference(models.base)}
    config = yaml.safe_load((out / RECIPE_FILE).read_text())
    for holder, key in ((config, "base_model"), *((entry, "model") for entry in config.get("models", ()))):
        if holder.get(key) in names:
            holder[key] = public[names[holder[key]]]
    (out / RECIPE_FILE).write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))


def _entry(name: str, plan: MergePlan, bank: ExpertBank) -> dict[str, Any]:
    parameters = dict(plan.by_input.get(name, {}))
    return {"model": str(bank.references[name]), **({"parameters": parameters} if parameters else {})}


def write_shards(tensors: Iterator[tuple[str, torch.Tensor]], out: Path, shard_bytes: int) -> str:
    """Write tensors as safetensors shards with an index (one plain file when it fits); return their checksum."""
    shards: list[list[str]] = []
    digests: list[tuple[str, torch.Tensor]] = []
    held: dict[str, torch.Tensor] = {}
    weight_map: dict[str, int] = {}
    total = 0

    def flush() -> None:
        if held:
            save_file(held, out / f"shard-{len(shards)}.safetensors", metadata={"format": "pt"})
            shards.append(list(held))
            held.clear()

    for name, tensor in tensors:
        if sum(t.nbytes for t in held.values()) + tensor.nbytes > shard_bytes:
            flush()
        held[name] = tensor.contiguous().cpu()
        weight_map[name] = len(shards)
        digests.append((name, tensor))
        total += tensor.nbytes
    flush()
    _name_shards(out, weight_map, len(shards), total)
    return checksum(digests)


def _name_shards(out: Path, weight_map: Mapping[str, int], count: int, total: int) -> None:
    names = (
        [f"model-{i + 1:05d}-of-{count:05d}.safetensors" for i in range(count)] if count > 1 else ["model.safetensors"]
    )
    for i, name in enumerate(names):
        (out / f"shard-{i}.safetensors").rename(out / name)
    if count > 1:
        index = {"metadata": {"total_size": total}, "weight_map": {n: names[i] for n, i in weight_map.items()}}
        (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))


def _copy_companions(base: Path, out: Path, plan: MergePlan, options: ExportOptions) -> None:
    for name in TOKENIZER_FILES:
        if (base / name).is_file():
            shutil.copyfile(base / name, out / name)
    if options.chat_template is not None:
        (out / "chat_template.jinja").write_text(options.chat_template)
    config = json.loads((base / "config.json").read_text())
    config.pop("torch_dtype", None)
    config["dtype"] = str(plan.out_dtype).removeprefix("torch.")
    (out / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
