"""How long each expert's task vector is: what closed-form starting points of a search are made from."""

import torch

from worker.merge.bank import BASE, ExpertBank, Placement
from worker.merge.methods.ra_metagpt import squared_norm


@torch.no_grad()
def task_vector_norms(bank: ExpertBank) -> dict[str, float]:
    """Return ‖expert − base‖ over all tensors by expert; empty where every tensor would be read from its file again."""
    if bank.placement is Placement.STREAMED:
        return {}
    squares = dict.fromkeys(bank.experts, 0.0)
    for name in bank.names:
        base, *others = bank.tensors(name, (BASE, *bank.experts))
        for expert, tensor in zip(bank.experts, others, strict=True):
            squares[expert] += squared_norm(base, tensor)
    return {expert: square**0.5 for expert, square in squares.items()}
