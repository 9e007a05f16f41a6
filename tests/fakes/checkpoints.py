"""Tiny checkpoints as real safetensors files: a base and experts that lie near it."""

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

SHAPES = {"model.embed.weight": (32, 8), "model.layers.0.weight": (8, 8), "model.norm.weight": (8,)}
Weights = dict[str, np.ndarray]


def weights(seed: int, base: Weights | None = None, scale: float = 1.0) -> Weights:
    """Random tensors, added to a base where one is given."""
    rng = np.random.default_rng(seed)
    made = {name: (scale * rng.standard_normal(shape)).astype(np.float32) for name, shape in SHAPES.items()}
    return made if base is None else {name: base[name] + value for name, value in made.items()}


def write(folder: Path, tensors: Weights) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "tiny"}')
    return folder


def family(folder: Path) -> dict[str, Path]:
    """A base and two experts."""
    base = weights(0)
    return {
        "base": write(folder / "base", base),
        "code": write(folder / "code", weights(1, base, 0.05)),
        "math": write(folder / "math", weights(2, base, 0.05)),
    }


def read(folder: Path) -> Weights:
    return load_file(folder / "model.safetensors")
