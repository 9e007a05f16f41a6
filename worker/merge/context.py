"""What a method may use while it prepares a merge, and what its preparation hands on."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import torch
from torch import nn

from core.errors import InvalidInputError
from worker.merge.bank import ExpertBank

if TYPE_CHECKING:
    from worker.merge.plan import MergePlan


@dataclass(frozen=True)
class Calibration:
    """Token batches for each expert's own kind of text, and a score to maximize where a method needs one.

    `batches[expert]` are int64 tensors (sequences, tokens), unpadded; `score` evaluates the resident model.
    """

    batches: Mapping[str, tuple[torch.Tensor, ...]] = field(default_factory=dict)
    score: Callable[[nn.Module], float] | None = None


class Statistics(Protocol):
    """What a preparation found, by tensor; asked for in the order in which tensors are computed."""

    def for_tensor(self, name: str) -> Mapping[str, torch.Tensor]:
        """Return the named tensors that the rule needs."""
        ...

    def merged(self, name: str, tensor: torch.Tensor) -> None:
        """Learn that a tensor was merged (RegMean++ needs the merged layer's outputs)."""
        ...


@dataclass(frozen=True)
class HeldStatistics:
    """Statistics that are all in memory."""

    tensors: Mapping[str, Mapping[str, torch.Tensor]]

    def for_tensor(self, name: str) -> Mapping[str, torch.Tensor]:
        """Return the tensor's statistics, or none."""
        return self.tensors.get(name, {})

    def merged(self, name: str, tensor: torch.Tensor) -> None:
        """Nothing depends on merged tensors."""


@dataclass(frozen=True)
class Resolution:
    """A recipe resolved: an equivalent plan that needs no more preparation, with its statistics."""

    plan: "MergePlan"
    statistics: Statistics = field(default_factory=lambda: HeldStatistics({}))


@dataclass(frozen=True)
class RoutedGroup:
    """Prompts (by their place) that are answered by one merge, as a mergekit configuration of the bank's names."""

    prompts: tuple[int, ...]
    config: Mapping[str, object]


class Extension(Protocol):
    """Modules attached to a resident model; they act until they are removed."""

    def remove(self) -> None:
        """Take the modules off; the weights stay as they are."""
        ...

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield what was learnt, by name: part of a candidate's fingerprint."""
        ...


@dataclass(frozen=True)
class MergeContext:
    """Everything a preparation may use. `model` is the resident model, free to be overwritten until the merge."""

    bank: ExpertBank
    plan: "MergePlan"
    model: nn.Module | None = None
    calibration: Calibration = field(default_factory=Calibration)

    def need_model(self) -> nn.Module:
        """Return the resident model; raise InvalidInputError when there is none."""
        if self.model is None:
            raise InvalidInputError(f"{self.plan.method.name} runs the model: it needs a resident one.")
        return self.model

    def need_batches(self, expert: str) -> tuple[torch.Tensor, ...]:
        """Return the expert's calibration batches; raise InvalidInputError when there are none."""
        batches = self.calibration.batches.get(expert)
        if not batches:
            raise InvalidInputError(
                f"{self.plan.method.name} needs calibration text for expert {expert!r}.",
                fix="Give text from the search split or a named dataset.",
            )
        return batches

    def need_score(self) -> Callable[[nn.Module], float]:
        """Return the score to maximize; raise InvalidInputError when there is none."""
        if self.calibration.score is None:
            raise InvalidInputError(f"{self.plan.method.name} needs a validation score.")
        return self.calibration.score
