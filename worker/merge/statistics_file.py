"""Statistics of a resolved recipe as a safetensors file beside the exported model: `<tensor>::<statistic>`."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from worker.merge.context import Statistics

STATISTICS_FILE = "merge_statistics.safetensors"
_SEPARATOR = "::"


def write_statistics(statistics: Statistics, names: Iterable[str], path: Path) -> None:
    """Write the statistics of the named tensors."""
    found = {
        f"{name}{_SEPARATOR}{key}": tensor.contiguous().cpu()
        for name in names
        for key, tensor in statistics.for_tensor(name).items()
    }
    save_file(found, path)


def read_statistics(path: str | Path, name: str) -> Mapping[str, torch.Tensor]:
    """Return the statistics of one tensor; none when the file has none for it."""
    prefix = f"{name}{_SEPARATOR}"
    with safe_open(path, framework="pt") as file:
        return {key.removeprefix(prefix): file.get_tensor(key) for key in file.keys() if key.startswith(prefix)}  # noqa: SIM118
