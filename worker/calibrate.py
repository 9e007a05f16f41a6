"""Makes what calibrated methods ask for: each expert's own text, and a score to maximize.

An expert's text is its own greedy answers to the prompts of a search slice, as the protocol asks them: unlabelled, of
the kind that the merged model will read and write. Joined by the end token and cut to equal lengths, so that no pad is
ever learnt from. The score is the mean share of passed search items. Both come from slices that decide nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from core.errors import InvalidInputError
from core.types.evaluation import Sampling
from core.types.job import CalibrationData
from worker.evaluate import OpenGrader, Plan, evaluate, requests_for
from worker.generate.port import Engine
from worker.merge.bank import BASE, ExpertBank
from worker.merge.context import Calibration
from worker.merge.gradients import load_model
from worker.merge.targets import resident_targets

_BATCH = 8


@dataclass(frozen=True)
class Source:
    """One expert's slice: how its items are asked and judged."""

    expert: str
    plan: Plan


class Calibrator:
    """Calibration for one bank and its resident model; texts are made once and kept."""

    def __init__(self, engine: Engine, bank: ExpertBank, open_grader: OpenGrader) -> None:
        self._engine = engine
        self._bank = bank
        self._open_grader = open_grader
        self._kept: dict[str, Mapping[str, tuple[torch.Tensor, ...]]] = {}

    def calibration(self, data: CalibrationData, sources: Sequence[Source], *, scored: bool) -> Calibration:
        """Return text for every source's expert, and a score if asked; the resident weights are overwritten.

        Raises:
            InvalidInputError: an expert's slice gives less text than one sequence.
        """
        key = data.model_dump_json()
        if key not in self._kept:
            self._kept[key] = {source.expert: self._text(data, source) for source in sources}
        return Calibration(self._kept[key], self._score(data, sources) if scored else None)

    def _text(self, data: CalibrationData, source: Source) -> tuple[torch.Tensor, ...]:
        load_model(resident_targets(self._engine.model, self._bank.shapes), self._bank, source.expert)
        self._engine.weights_changed()
        requests = requests_for(replace(source.plan, sampling=_greedy(source.plan.drawn)), self._engine)
        answers = {made.item_id: made.token_ids for made in self._engine.generate(requests)}
        end = sorted(self._engine.eos_ids)[:1]
        joined = [t for r in requests for t in (*r.prompt_ids, *answers[r.item_id], *end)]
        count = min(data.sequences, len(joined) // data.tokens)
        if count == 0:
            raise InvalidInputError(
                f"The calibration slice of {source.expert!r} gives {len(joined)} tokens, less than one sequence of "
                f"{data.tokens}.",
                fix="Give the search slice more items.",
            )
        rows = torch.tensor(joined[: len(joined) // data.tokens * data.tokens]).reshape(-1, data.tokens)
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(data.seed))[:count]
        return tuple(rows[order].split(_BATCH))

    def _score(self, data: CalibrationData, sources: Sequence[Source]) -> Callable[[nn.Module], float]:
        plans = [
            Plan(s.plan.protocol, s.plan.items[: data.score_items], _greedy(s.plan.drawn)) for s in sources
        ]  # fmt: skip

        def score(_model: nn.Module) -> float:
            self._engine.weights_changed()
            shares = []
            for plan in plans:
                outcomes, _ = evaluate(self._engine, plan, self._open_grader)
                shares.append(sum(o.score for o in outcomes) / len(outcomes))
            return sum(shares) / len(shares)

        return score


def _greedy(sampling: Sampling) -> Sampling:
    return sampling.evolve(temperature=0.0, top_p=1.0, n_samples=1)


def checked(sources: Sequence[Source], bank: ExpertBank) -> None:
    """Raise InvalidInputError for a slice of an expert that the bank does not have."""
    unknown = sorted({s.expert for s in sources} - set(bank.experts) - {BASE})
    if unknown:
        raise InvalidInputError(f"Calibration names {unknown[0]!r}, which is no expert of the task.")
