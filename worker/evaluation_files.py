"""What an evaluation leaves in its folder, and the scores in it.

code_eval.json (the bigcode harness's form), evaluation.json (all that is known: verdict, completion and detail of each
sample, intervals, cost) and verdicts.jsonl (one line a sample).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import InvalidInputError
from core.passk import score
from core.types.evaluation import ItemOutcome, Sampling, Score
from worker.protocols.base import EvaluationProtocol
from worker.protocols.item import Item

USUAL_KS = (1, 10, 100)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for. `ks`: the k of each pass@k; empty for the usual ones."""

    benchmark: str
    items: tuple[Item, ...]
    protocol: EvaluationProtocol
    sampling: Sampling
    output: Path
    ks: tuple[int, ...] = ()
    source: str = ""


def refuse_ks(asked: Asked, most: int) -> None:
    """Raise InvalidInputError where a pass@k is asked for that `most` samples a problem do not allow."""
    if asked.ks and not asked.protocol.metric.startswith("pass@"):
        raise InvalidInputError(f"Protocol {asked.protocol.id!r} has no pass@k.")
    if asked.ks and max(asked.ks) > most:
        raise InvalidInputError(
            f"pass@{max(asked.ks)} needs at least {max(asked.ks)} samples a problem; there are {most}.",
            fix="Ask for a smaller k, or for more samples by --n-samples.",
        )


def scores(outcomes: Sequence[ItemOutcome], metric: str, ks: Sequence[int] = ()) -> list[Score]:
    """Return the scores that are asked for: pass@k for every k, or the usual ones that the samples allow."""
    if not metric.startswith("pass@"):
        return [score(outcomes, metric)]
    most = min(len(outcome.samples) for outcome in outcomes)
    return [score(outcomes, f"pass@{k}") for k in ks or [k for k in USUAL_KS if k <= most]]


def code_eval(asked: Asked, found: Sequence[Score], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics in the form of the harness's code_eval.json."""
    sampling = asked.sampling
    return {
        asked.benchmark: {one.metric: one.value for one in found},
        "config": {
            "prefix": "",
            "do_sample": sampling.temperature > 0,
            "temperature": sampling.temperature,
            "top_k": 0,
            "top_p": sampling.top_p,
            "n_samples": sampling.n_samples,
            "seed": sampling.seed,
            "tasks": asked.benchmark,
            "max_length_generation": sampling.max_length,
            "max_new_tokens": sampling.max_new_tokens,
            "limit": len(asked.items),
            "protocol": asked.protocol.id,
            "dataset": asked.source,
            **config,
        },
    }


def prepare_folder(path: Path) -> None:
    """Make the folder of the results before anything expensive; raise InvalidInputError where it can't be written."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / "code_eval.json").touch()
    except OSError as error:
        raise InvalidInputError(f"The results can't be written to {path}: {error.strerror}.") from error


def write_json(path: Path, value: Any) -> None:
    """Write one value; what is not ASCII is escaped, so that any string a model makes can be written."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def verdict_lines(outcomes: Sequence[ItemOutcome]) -> list[dict[str, Any]]:
    """Return one line a sample of an evaluation, in the benchmark's order."""
    samples = [(outcome.item_id, sample) for outcome in outcomes for sample in outcome.samples]
    return [
        {
            "task_id": item_id,
            "index": index,
            "verdict": sample.verdict.value,
            "detail": sample.detail,
            "completion": sample.completion,
        }
        for index, (item_id, sample) in enumerate(samples)
    ]


def rich_scores(found: Sequence[Score]) -> dict[str, Any]:
    """Return the scores with their intervals, for evaluation.json."""
    return {"scores": [one.model_dump() for one in found]}
