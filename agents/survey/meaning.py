"""What works mean: sentence embeddings of titles and abstracts, and how close they are to the works known in scope.

The embeddings are a worker's job behind the `Texts` port; without one this evidence is simply missing.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from agents.survey.dedupe import Found
from agents.survey.screening import Verdict
from agents.survey.text import shorten
from core.ports import Texts

LEAST_CORE = 5
BATCH = 128
_CORE = 0.75
_WEIGHT = 0.5
Vectors = Mapping[str, NDArray[np.float32]]


async def embedded(texts: Texts, found: Sequence[Found]) -> Vectors:
    """Return one unit vector a work, by key."""
    vectors: dict[str, NDArray[np.float32]] = {}
    for start in range(0, len(found), BATCH):
        batch = found[start : start + BATCH]
        rows = await texts.embed([f"{f.work.title}. {shorten(f.work.abstract, 600)}" for f in batch])
        vectors |= {f.key: np.asarray(row, dtype=np.float32) for f, row in zip(batch, rows, strict=True)}
    return vectors


def closeness(vectors: Vectors, verdicts: Mapping[str, Verdict]) -> dict[str, float]:
    """Return a sign in [0, 0.5] for each work: how its closeness ranks against that of the core works."""
    core = [key for key in vectors if verdicts[key].score >= _CORE]
    if len(core) < LEAST_CORE:
        return {}
    middle = np.mean([vectors[key] for key in core], axis=0)
    middle = middle / (np.linalg.norm(middle) or 1.0)
    typical = np.sort([float(vectors[key] @ middle) for key in core])
    ranks = {key: np.searchsorted(typical, float(v @ middle), side="right") for key, v in vectors.items()}
    return {key: float(_WEIGHT * rank / len(typical)) for key, rank in ranks.items()}
