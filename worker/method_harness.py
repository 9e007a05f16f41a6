"""What runs inside the sandbox of a submitted method: load tensors, call its `merge`, save what comes back.

`python method_harness.py BASE MEGABYTES` with /models/NAME, /method.py, /parameters.json and /out. It trusts nothing it
is given, and nothing it says is trusted: the tensors are looked at outside.
"""

import importlib.util
import json
import resource
import sys
from pathlib import Path
from types import ModuleType

import torch
from safetensors.torch import load_file, save_file

Tensors = dict[str, torch.Tensor]


def load(folder: Path) -> Tensors:
    """Return all tensors of a checkpoint."""
    found: Tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= load_file(file)
    return found


def module(file: Path) -> ModuleType:
    """Import a file."""
    spec = importlib.util.spec_from_file_location("submitted_method", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} can't be imported")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def main() -> None:
    """Merge and save, in the base's dtypes."""
    name, data = sys.argv[1], int(sys.argv[2]) * 2**20
    # Before any submitted code runs, and not to be raised again.
    resource.setrlimit(resource.RLIMIT_DATA, (data, data))
    resource.setrlimit(resource.RLIMIT_FSIZE, (data, data))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    torch.manual_seed(0)
    base = load(Path("/models") / name)
    experts = {p.name: load(p) for p in sorted(Path("/models").iterdir()) if p.name != name}
    parameters = json.loads(Path("/parameters.json").read_text())
    merged = module(Path("/method.py")).merge(dict(base), experts, **parameters)
    save_file(
        {key: value.detach().to(base[key].dtype).contiguous().clone() for key, value in merged.items() if key in base},
        "/out/model.safetensors",
    )


if __name__ == "__main__":
    main()
