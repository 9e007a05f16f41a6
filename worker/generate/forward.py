"""Run a resident causal language model over prompts (prefill) and over rows of slots (one decoding step).

On CUDA a step is captured once per width and span as a CUDA graph, so that a thousand kernel launches a step cost
nothing; where capturing fails the steps run one kernel at a time. The model's weights may change in place at any time:
graphs read them where they lie.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from core.errors import InvalidInputError
from worker.generate import attention, fused_attention
from worker.generate.kv_cache import PrefillCache, SlotCache

_log = logging.getLogger(__name__)
_WARM_UPS = 2


@dataclass(frozen=True, slots=True)
class Geometry:
    """What generation needs to know of a model's configuration."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    context: int
    window: int | None
    softcap: float | None
    mixed: bool

    @classmethod
    def of(cls, config: Any) -> "Geometry":
        """Read a configuration; raise InvalidInputError for models that keep another state than keys and values."""
        types = set(getattr(config, "layer_types", None) or ())
        if not types <= {"full_attention", "sliding_attention"}:
            raise InvalidInputError(
                f"The transformers engine decodes attention layers only; this model has {sorted(types)}.",
                fix="Choose the vllm engine for it.",
            )
        heads = config.num_attention_heads
        sliding = "sliding_attention" in types or (not types and getattr(config, "use_sliding_window", True))
        return cls(
            layers=config.num_hidden_layers,
            heads=heads,
            kv_heads=getattr(config, "num_key_value_heads", None) or heads,
            head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
            vocabulary=config.vocab_size,
            context=config.max_position_embeddings,
            window=getattr(config, "sliding_window", None) if sliding else None,
            softcap=getattr(config, "attn_logit_softcapping", None),
            mixed="sliding_attention" in types,
        )

    def token_bytes(self, dtype: torch.dtype) -> int:
        """Return the bytes of keys and values that one token of one row takes."""
        return 2 * self.layers * self.kv_heads * self.head_dim * dtype.itemsize


class Forward:
    """A model with its slot cache: prompts go in, logits of one step come out."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.geometry = Geometry.of(model.config)
        parameter = next(model.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype
        model.set_attn_implementation(attention.NAME)
        g = self.geometry
        shape = fused_attention.Shape(g.head_dim**-0.5, g.softcap, g.window)
        self.fused = fused_attention.agrees((g.heads, g.kv_heads, g.head_dim), shape, self.dtype, self.device)
        # Static widths and spans, and a step's answers read while the next one runs: for devices that work ahead.
        self.static = self.graphs = self.device.type == "cuda"
        self.cache = SlotCache(0, 0)
        self.tokens = self.positions = torch.zeros(0, dtype=torch.int64)
        self._captured: dict[tuple[int, int], torch.cuda.CUDAGraph] = {}
        self._logits = torch.zeros(0)
        self._pool: Any = None

    def reserve(self, rows: int, capacity: int) -> None:
        """Make room for `rows` rows of `capacity` tokens, keeping what is there if it is enough."""
        if rows <= self.cache.rows and capacity <= self.cache.capacity:
            return
        self.drop()
        self.cache = SlotCache(rows, capacity)
        self.tokens = torch.zeros(rows, dtype=torch.int64, device=self.device)
        self.positions = torch.zeros(rows, dtype=torch.int64, device=self.device)
        if self.graphs:
            self._logits = torch.zeros((rows, self.geometry.vocabulary), dtype=self.dtype, device=self.device)

    def drop(self) -> None:
        """Free the slots and everything captured over them."""
        self._captured.clear()
        self.cache = SlotCache(0, 0)
        self._logits = torch.zeros(0)
        self._pool = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def prefill(self, prompts: Sequence[Sequence[int]], prefix: PrefillCache | None = None) -> PrefillCache:
        """Compute keys and values of prompts (without the prefix), padded on the right: causality hides the pads."""
        longest = max(1, *(len(p) for p in prompts)) if prompts else 1
        ids = torch.zeros((len(prompts), longest), dtype=torch.int64)
        for row, prompt in zip(ids, prompts, strict=True):
            row[: len(prompt)] = torch.tensor(prompt, dtype=torch.int64)
        cache = PrefillCache(prefix)
        before = cache.get_seq_length()
        positions = torch.arange(before, before + longest, device=self.device)[None, :]
        columns = torch.arange(before + longest, device=self.device)[None, None, None, :]
        at = positions[:, None, :, None]
        seen = columns <= at
        self.model.base_model(
            input_ids=ids.to(self.device),
            position_ids=positions.expand(len(prompts), -1),
            attention_mask=self._masks(seen, seen & (columns > at - self._window)),
            past_key_values=cache,
            use_cache=True,
        )
        return cache

    def step(self, width: int, span: int) -> torch.Tensor:
        """Run one token of the first `width` rows; return their logits [width, vocabulary].

        The logits of a captured step are overwritten by its next run.
        """
        if not self.graphs:
            return self._step(width, span)
        if (width, span) not in self._captured and not self._capture(width, span):
            return self._step(width, span)
        self._captured[width, span].replay()
        return self._logits[:width]

    def _step(self, width: int, span: int) -> torch.Tensor:
        positions = self.positions[:width]
        self.cache.aim(positions, span)
        columns = torch.arange(span, device=self.device)[None, :]
        unseen = columns > positions[:, None]
        full, sliding = (
            torch.zeros(mask.shape, device=self.device).masked_fill_(mask, -torch.inf)[:, None, None, :]
            for mask in (unseen, unseen | (columns <= positions[:, None] - self._window))
        )
        extra = {"slot_lengths": positions} if self.fused else {}
        out = self.model(
            input_ids=self.tokens[:width, None],
            position_ids=positions[:, None],
            attention_mask=self._masks(full, sliding),
            past_key_values=self.cache,
            use_cache=True,
            **extra,
        )
        return out.logits[:, -1]

    @property
    def _window(self) -> int:
        return self.geometry.window or 1 << 40

    def _masks(self, full: torch.Tensor, sliding: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
        """Return the form the model takes: one mask, or one per type of layer where types are mixed."""
        if self.geometry.mixed:
            return {"full_attention": full, "sliding_attention": sliding}
        return full if self.geometry.window is None else sliding

    def _capture(self, width: int, span: int) -> bool:
        """Record a step as a CUDA graph; on failure say why once and stop trying."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UPS if not self._captured else 1):
                    self._step(width, span)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool):
                # One buffer for all graphs: a graph's own outputs would keep their memory for as long as it lives.
                self._logits[:width].copy_(self._step(width, span))
        except RuntimeError as error:
            _log.warning("CUDA graphs do not work here, decoding step by step: %s", error)
            self.graphs = False
            return False
        self._pool = self._pool or graph.pool()
        self._captured[width, span] = graph
        return True
