"""Language-model losses and their gradients on the resident model, without ever holding all gradients at once.

A consumer sees each parameter's gradient as soon as it exists and it is freed right after: what a method learns
(coefficients, masks, Fisher sums) is a small function of it, by the chain rule written out in that method.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn import functional

from worker.merge.bank import ExpertBank
from worker.merge.blocks import copy_into

Tensor = torch.Tensor
Consumer = Callable[[str, Tensor, Tensor], None]
Loss = Callable[[nn.Module, Tensor], Tensor]


def language_loss(model: nn.Module, ids: Tensor) -> Tensor:
    """Return the mean next-token cross-entropy."""
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1].float()
    return functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())


def entropy_loss(model: nn.Module, ids: Tensor) -> Tensor:
    """Return the mean entropy of the next-token distribution."""
    log = model(input_ids=ids, use_cache=False).logits.float().log_softmax(-1)
    return -(log.exp() * log).sum(-1).mean()


def imitation_loss(teacher: Sequence[Tensor]) -> Callable[[nn.Module, Tensor, int], Tensor]:
    """Return KL(teacher ‖ model) over the next token, for recorded teacher log-probabilities."""

    def loss(model: nn.Module, ids: Tensor, place: int) -> Tensor:
        log = model(input_ids=ids, use_cache=False).logits.float().log_softmax(-1)
        target = teacher[place].to(log)
        return functional.kl_div(log.flatten(0, 1), target.flatten(0, 1), reduction="batchmean", log_target=True)

    return loss


@contextmanager
def streaming(model: nn.Module, names: Iterable[str], consume: Consumer) -> Iterator[None]:
    """Give each named parameter's gradient to `consume` and free it; all other parameters stay frozen."""
    wanted, parameters = set(names), dict(model.named_parameters())
    before = {n: p.requires_grad for n, p in parameters.items()}
    handles = []

    def hook(name: str) -> Callable[[Tensor], None]:
        def receive(parameter: Tensor) -> None:
            if parameter.grad is not None:
                with torch.no_grad():
                    consume(name, parameter.detach(), parameter.grad)
                parameter.grad = None

        return receive

    for name, parameter in parameters.items():
        parameter.requires_grad_(name in wanted)
        if name in wanted:
            handles.append(parameter.register_post_accumulate_grad_hook(hook(name)))
    try:
        with torch.enable_grad():
            yield
    finally:
        for handle in handles:
            handle.remove()
        for name, parameter in parameters.items():
            parameter.requires_grad_(before[name])


def load_model(targets: Mapping[str, Tensor], bank: ExpertBank, model: str) -> None:
    """Write the base (`base`) or an expert into the resident model."""
    copy_into(targets, {name: bank.tensor(model, name) for name in bank.names})


@torch.no_grad()
def log_probabilities(model: nn.Module, batches: Sequence[Tensor]) -> list[Tensor]:
    """Return the model's next-token log-probabilities for each batch, in half precision on the host."""
    device = next(model.parameters()).device
    return [
        model(input_ids=b.to(device), use_cache=False).logits.float().log_softmax(-1).to(torch.float16).cpu()
        for b in batches
    ]


def matrices(bank: ExpertBank) -> list[str]:
    """Return the names of the decoder layers' weight matrices."""
    return [n for n, s in bank.shapes.items() if len(s) == 2 and "embed" not in n and "lm_head" not in n]
