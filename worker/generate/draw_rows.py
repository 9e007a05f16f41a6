"""How the next token of every row is to be drawn."""

from dataclasses import dataclass

import torch


@dataclass(slots=True)
class DrawRows:
    """Per-row parameters, each of shape [rows] on the logits' device; temperature 0 is greedy."""

    temperature: torch.Tensor
    top_p: torch.Tensor
    seeds: torch.Tensor
    steps: torch.Tensor

    def select(self, rows: torch.Tensor) -> "DrawRows":
        """Return the parameters of some rows."""
        return DrawRows(self.temperature[rows], self.top_p[rows], self.seeds[rows], self.steps[rows])
