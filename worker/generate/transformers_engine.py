"""The default engine: our own decoding loop around a transformers model, on a GPU or a CPU.

It does not sample with the library's `generate`: that runs one prompt's samples until the slowest ends, concatenates
its cache at every step and sorts the vocabulary for every token.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from core.errors import InvalidInputError
from worker.generate.batching import Batch
from worker.generate.forward import Forward
from worker.generate.kv_cache import cache_dtype
from worker.generate.port import Completion, EngineOptions, GenerationRequest, Tokenizer
from worker.generate.stops import Decoder

_CPU_ROWS = 128
_GPU_ROWS = 512
_CPU_CACHE_BYTES = 2 << 30
_CPU_PREFILL_TOKENS = 2048
_GPU_PREFILL_TOKENS = 8192
_GPU_SHARE = 0.85
_CAPACITY_STEP = 64


def best_device() -> torch.device:
    """Return the accelerator if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def best_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 where the hardware multiplies it, else float32."""
    if device.type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.bfloat16
    return torch.float32


class TransformersEngine:
    """A resident causal language model; its parameters may be overwritten in place between calls."""

    def __init__(self, model: Any, tokenizer: Any, *, rows: int | None = None) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer: Tokenizer = tokenizer
        self.eos_ids = end_tokens(model, tokenizer)
        self._decoder = Decoder(tokenizer)
        self._forward = Forward(model)
        self._rows = rows
        self._last_rows = 0

    @classmethod
    def load(cls, path: str | Path, options: EngineOptions = EngineOptions()) -> "TransformersEngine":  # noqa: B008
        """Load a checkpoint directory or hub id; safetensors only, no code from the repository."""
        device = torch.device(options.device) if options.device else best_device()
        dtype = getattr(torch, options.dtype) if options.dtype else best_dtype(device)
        try:
            tokenizer = AutoTokenizer.from_pretrained(path, revision=options.revision, trust_remote_code=False)
            model = AutoModelForCausalLM.from_pretrained(
                path, revision=options.revision, dtype=dtype, use_safetensors=True, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            raise InvalidInputError(
                f"No model can be loaded from {path}: {error}", fix="Name a safetensors checkpoint directory or hub id."
            ) from error
        placed: Any = model
        return cls(placed.to(device), tokenizer, rows=options.rows)

    def generate(self, requests: Sequence[GenerationRequest]) -> Iterator[Completion]:
        """Yield each completion as it finishes."""
        context = self._forward.geometry.context
        for request in requests:
            if not request.prompt_ids:
                raise InvalidInputError(f"The prompt of {request.item_id} is empty.")
        lengths = [len(r.prompt_ids) + r.draw.room(len(r.prompt_ids), context) for r in requests]
        if not lengths:
            return
        capacity = -(-max(lengths) // _CAPACITY_STEP) * _CAPACITY_STEP
        rows = min(self._rows or self._rows_that_fit(capacity), _padded_rows(len(requests)))
        self._forward.reserve(rows, capacity)
        self._last_rows = rows
        tokens = _CPU_PREFILL_TOKENS if self._forward.device.type == "cpu" else _GPU_PREFILL_TOKENS
        yield from Batch(self._forward, self._decoder, rows, tokens).run(requests)

    def _rows_that_fit(self, capacity: int) -> int:
        forward = self._forward
        row = capacity * forward.geometry.token_bytes(cache_dtype(forward.device, forward.dtype))
        if forward.device.type == "cpu":
            free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
            room = min(_CPU_CACHE_BYTES, free // 2)
            return max(1, min(_CPU_ROWS, room // row))
        if capacity <= forward.cache.capacity and forward.cache.rows:
            return forward.cache.rows
        forward.drop()
        free, _ = torch.cuda.mem_get_info(forward.device)
        # Logits are held in the model's type, twice more while they are capped, and three times in float32 in a draw.
        row += forward.geometry.vocabulary * (3 * forward.dtype.itemsize + 12)
        fit = int(free * _GPU_SHARE) // row
        return max(1, min(_GPU_ROWS, fit // 32 * 32 or fit))

    def weights_changed(self) -> None:
        """Nothing computed with former weights outlives a call of `generate`: nothing to forget."""

    def modules_changed(self) -> None:
        """Drop recorded graphs: they repeat the steps of the former modules."""
        self._forward.drop()

    def describe(self) -> Mapping[str, str | int | float]:
        """Return what the record of an evaluation needs to tell how it was made."""
        return {
            "engine": "transformers",
            "version": f"transformers {transformers.__version__}, torch {torch.__version__}",
            "device": str(self._forward.device),
            "dtype": str(self._forward.dtype).removeprefix("torch."),
            "rows": self._last_rows,
            "fused_attention": int(self._forward.fused),
            "graphs": int(self._forward.graphs),
        }

    def close(self) -> None:
        """Free the slot cache; the model goes when its last holder lets go of it."""
        self._forward.drop()


def end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Return the ids at which `generate` would end a text: the generation configuration's, else the tokenizer's."""
    configured = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    if configured is None:
        configured = tokenizer.eos_token_id
    if configured is None:
        return frozenset()
    return frozenset([configured] if isinstance(configured, int) else configured)


def _padded_rows(rows: int) -> int:
    """Round up so that calls of similar size share one cache."""
    return -(-rows // 8) * 8
