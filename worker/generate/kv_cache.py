"""Keys and values of the rows being decoded: one static slot a row, written in place.

Neither is a `transformers` cache class: a model's forward pass only calls `update` and `get_seq_length`.
"""

from typing import Any

import torch


def cache_dtype(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """Return how keys and values are held: a CPU copies bfloat16 slices before it multiplies them, float32 ones not."""
    return torch.float32 if device.type == "cpu" else dtype


class PrefillCache:
    """Collect the keys and values of a batch of prompts, after a prefix that all of them share."""

    def __init__(self, prefix: "PrefillCache | None" = None) -> None:
        self.layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._prefix = prefix

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store [rows, kv heads, length, dim] of one layer; return it with the prefix in front."""
        if self._prefix is not None:
            before = self._prefix.layers[layer_idx]
            keys, values = (
                torch.cat([old.expand(len(new), -1, -1, -1), new], 2)
                for old, new in zip(before, (keys, values), strict=True)
            )
        self.layers[layer_idx] = keys, values
        return keys, values

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return how many tokens stand before the batch's own."""
        return 0 if self._prefix is None else self._prefix.layers[layer_idx][0].shape[2]


class SlotCache:
    """Static keys and values for `rows` rows of up to `capacity` tokens, per layer [rows * kv heads, capacity, dim].

    Set `positions` (int64 [width], where each row's next token goes) and `span` (how many columns are read) before a
    step. Columns past a row's end hold zeros or leftovers: finite, and masked by the caller.
    """

    def __init__(self, rows: int, capacity: int) -> None:
        self.rows = rows
        self.capacity = capacity
        self.positions = torch.zeros(0, dtype=torch.int64)
        self.span = 0
        self._layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._index: dict[int, torch.Tensor] = {}

    def aim(self, positions: torch.Tensor, span: int) -> None:
        """Prepare a step in which row i writes at `positions[i]` and reads the first `span` columns."""
        self.positions, self.span = positions, span
        self._index = {}

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write one token a row [rows, kv heads, 1, dim]; return the columns to read, [rows * kv heads, span, dim]."""
        heads = keys.shape[1]
        store = self._layers[layer_idx]
        for held, new in zip(store, (keys, values), strict=True):
            rows = new.reshape(-1, new.shape[-1]).to(held.dtype)
            held.view(-1, held.shape[-1]).index_copy_(0, self._flat_index(heads), rows)
        width = len(keys) * heads
        return store[0][:width, : self.span], store[1][:width, : self.span]

    def _flat_index(self, heads: int) -> torch.Tensor:
        if heads not in self._index:
            width = len(self.positions) * heads
            start = torch.arange(width, device=self.positions.device) * self.capacity
            self._index[heads] = start + self.positions.repeat_interleave(heads, output_size=width)
        return self._index[heads]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return the columns before this step's (models ask, but are given positions and masks)."""
        return max(0, self.span - 1)

    def put(self, slots: torch.Tensor, prompts: PrefillCache, which: torch.Tensor) -> None:
        """Copy prompt `which[i]` into slot `slots[i]`, for every layer."""
        for layer, pair in prompts.layers.items():
            if layer not in self._layers:
                self._layers[layer] = self._allocate(pair[0]), self._allocate(pair[1])
            for held, new in zip(self._layers[layer], pair, strict=True):
                self._by_row(held, new.shape[1])[slots, :, : new.shape[2]] = new[which].to(held.dtype)

    def move(self, source: torch.Tensor, target: torch.Tensor, span: int) -> None:
        """Copy the first `span` columns of some rows to other rows."""
        for pair in self._layers.values():
            for held in pair:
                rows = self._by_row(held, held.shape[0] // self.rows)
                rows[target, :, :span] = rows[source, :, :span]

    def _by_row(self, held: torch.Tensor, heads: int) -> torch.Tensor:
        return held.view(self.rows, heads, self.capacity, held.shape[-1])

    def _allocate(self, like: torch.Tensor) -> torch.Tensor:
        shape = self.rows * like.shape[1], self.capacity, like.shape[3]
        return torch.zeros(shape, dtype=cache_dtype(like.device, like.dtype), device=like.device)
