"""Reads HF checkpoints: safetensors files, sharded or not, with their headers, config and tokenizer fingerprint.

Tensors are read lazily and by name. Pickle files are never opened: a directory that holds only those is refused.
Whether two checkpoints fit together is `worker.merge.validation`'s business.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from core.errors import InvalidInputError

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.msgpack")
_DTYPES = {
    "BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64,
}  # fmt: skip
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "chat_template.jinja", "generation_config.json",
)  # fmt: skip


@dataclass(frozen=True)
class TensorHeader:
    """A tensor's place, shape and dtype; `dtype` is None for types that can't be merged (integers, 8-bit floats)."""

    file: Path
    shape: tuple[int, ...]
    stored: str

    @property
    def dtype(self) -> torch.dtype | None:
        """Return the torch dtype, or None when the tensor can't take part in a merge."""
        return _DTYPES.get(self.stored)

    @property
    def elements(self) -> int:
        """Return how many numbers the tensor has."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint directory, opened: nothing but headers has been read."""

    path: Path
    headers: dict[str, TensorHeader]
    config: dict[str, Any]
    _kept: dict[Path, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def open(cls, path: str | Path) -> "Checkpoint":
        """Read config and headers; raise InvalidInputError for anything but a safetensors checkpoint directory."""
        directory = Path(path)
        if not directory.is_dir():
            raise InvalidInputError(
                f"There is no checkpoint directory {str(path)!r}.", fix="Download the model first, or correct the path."
            )
        config = read_json(directory / "config.json")
        headers: dict[str, TensorHeader] = {}
        for file, names in _files(directory).items():
            headers |= _headers(file, names)
        return cls(directory, headers, config)

    def tensor(self, name: str) -> torch.Tensor:
        """Read one tensor to host memory; raise InvalidInputError when the checkpoint lacks it."""
        if name not in self.headers:
            raise InvalidInputError(f"{self.path}: there is no tensor {name!r}.")
        file = self.headers[name].file
        with nullcontext(self._kept[file]) if file in self._kept else safe_open(file, framework="pt") as opened:
            tensor: torch.Tensor = opened.get_tensor(name)
        return tensor

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """Read all tensors of a file from one mapping: each of its own would hold the pages of the header again."""
        with ExitStack() as files:
            for file in {header.file for header in self.headers.values()}:
                self._kept[file] = files.enter_context(safe_open(file, framework="pt"))
            try:
                yield
            finally:
                self._kept.clear()

    @property
    def architecture(self) -> str:
        """Return the model's class name as the config states it."""
        return str((self.config.get("architectures") or ["?"])[0])

    @property
    def tied(self) -> bool:
        """Return whether lm_head shares the embedding's weights."""
        return bool(self.config.get("tie_word_embeddings", "lm_head.weight" not in self.headers))

    @property
    def layers(self) -> int:
        """Return the number of decoder layers."""
        return int(self.config.get("num_hidden_layers", 0))

    @cached_property
    def parameters(self) -> int:
        """Return how many parameters the files hold."""
        return sum(h.elements for h in self.headers.values())

    @cached_property
    def vocabulary(self) -> str | None:
        """Return a fingerprint of the tokenizer's token-to-id map, or None when there is no tokenizer."""
        for name in ("tokenizer.json", "vocab.json"):
            if (self.path / name).is_file():
                content = read_json(self.path / name)
                tokens = content.get("model", {}).get("vocab", content) if name == "tokenizer.json" else content
                added = [(t.get("id"), t.get("content")) for t in content.get("added_tokens", [])]
                return hashlib.sha256(json.dumps([tokens, added], sort_keys=True).encode()).hexdigest()
        model = self.path / "tokenizer.model"
        return hashlib.sha256(model.read_bytes()).hexdigest() if model.is_file() else None

    @cached_property
    def chat_template(self) -> str | None:
        """Return the chat template, wherever this checkpoint keeps it."""
        if (file := self.path / "chat_template.jinja").is_file():
            return file.read_text()
        if (self.path / "tokenizer_config.json").is_file():
            template = read_json(self.path / "tokenizer_config.json").get("chat_template")
            return template if isinstance(template, str) else None
        return None


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; raise InvalidInputError when it is missing or not one."""
    if not path.is_file():
        raise InvalidInputError(f"{path.parent}: {path.name} is missing.", fix="Hand in a complete HF checkpoint.")
    try:
        content = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise InvalidInputError(f"{path} is not a JSON object.")
    return content


def _files(directory: Path) -> dict[Path, list[str] | None]:
    """Return the safetensors files, each with the names that its index promises, if there is an index."""
    index = directory / "model.safetensors.index.json"
    if not index.is_file():
        if (single := directory / "model.safetensors").is_file():
            return {single: None}
        pickles = sorted(p.name for pattern in _PICKLES for p in directory.glob(pattern))
        found = f"only pickle files ({pickles[0]}, …), which are never opened" if pickles else "no model.safetensors"
        raise InvalidInputError(f"{directory} holds {found}.", fix="Convert the checkpoint to safetensors.")
    files: dict[Path, list[str] | None] = {}
    for name, shard in read_json(index).get("weight_map", {}).items():
        file = directory / str(shard)
        if file.parent != directory:
            raise InvalidInputError(f"{index}: shard {shard!r} lies outside the checkpoint.")
        entry = files.setdefault(file, [])
        if entry is not None:
            entry.append(name)
    return files


def _headers(file: Path, names: list[str] | None) -> dict[str, TensorHeader]:
    if not file.is_file():
        raise InvalidInputError(f"{file.parent}: shard {file.name} is missing.", fix="Download the checkpoint again.")
    try:
        with safe_open(file, framework="pt") as opened:
            present = set(opened.keys())
            if missing := sorted(set(names or ()) - present):
                raise InvalidInputError(f"{file} lacks {missing[0]!r}, which the index promises.")
            slices = {name: opened.get_slice(name) for name in sorted(names if names is not None else present)}
            return {n: TensorHeader(file, tuple(s.get_shape()), str(s.get_dtype())) for n, s in slices.items()}
    except SafetensorError as error:
        raise InvalidInputError(f"{file} is not a safetensors file: {error}") from error
