"""Statistics of a resolved recipe as a safetensors file beside the exported model: `<tensor>::<statistic>`."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from worker.merge.apply import merged_tensor
from worker.merge.bank import ExpertBank
from worker.merge.context import Resolution

STATISTICS_FILE = "merge_statistics.safetensors"
_SEPARATOR = "::"


def write_statistics(resolution: Resolution, bank: ExpertBank, names: Iterable[str], where: tuple[Path, int]) -> bool:
    """Write the named tensors' statistics, or nothing (False) when they exceed the limit in bytes.

    Merges on the way what a later statistic depends on (RegMean++ reads the layers merged before).
    """
    path, limit = where
    found: dict[str, torch.Tensor] = {}
    size = 0
    for name in names:
        statistics = dict(resolution.statistics.for_tensor(name))
        size += sum(t.nbytes for t in statistics.values())
        if size > limit:
            return False
        found |= {f"{name}{_SEPARATOR}{key}": t.detach().cpu().contiguous().clone() for key, t in statistics.items()}
        resolution.statistics.merged(name, merged_tensor(bank, resolution, name))
    save_file(found, path)
    return True


def read_statistics(path: str | Path, name: str) -> Mapping[str, torch.Tensor]:
    """Return the statistics of one tensor; none when the file has none for it."""
    prefix = f"{name}{_SEPARATOR}"
    with safe_open(path, framework="pt") as file:
        names: Iterable[str] = file.keys()
        return {key.removeprefix(prefix): file.get_tensor(key) for key in names if key.startswith(prefix)}
