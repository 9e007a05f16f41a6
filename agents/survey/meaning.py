"""Closeness in meaning: sentence embeddings of titles and abstracts against the middle of the works known in scope.

The embeddings are a worker's job behind the `Texts` port; without one this sign is simply missing.
"""

from collections.abc import Mapping

import numpy as np

from agents.survey.dedupe import Pool
from agents.survey.screening import Verdict
from agents.survey.text import shorten
from core.ports import Texts

LEAST_CORE = 5
BATCH = 128
_CORE = 0.75
_WEIGHT = 0.5


async def closeness(texts: Texts, pool: Pool, verdicts: Mapping[str, Verdict]) -> dict[str, float]:
    """Return a sign in [0, 0.5] for each work: how its closeness ranks against that of the core works."""
    records = list(pool)
    core = np.array([verdicts[r.key].score >= _CORE for r in records], dtype=bool)
    if core.sum() < LEAST_CORE:
        return {}
    rows: list[np.ndarray] = []
    for start in range(0, len(records), BATCH):
        batch = [f"{r.work.title}. {shorten(r.work.abstract, 600)}" for r in records[start : start + BATCH]]
        rows.append(np.asarray(await texts.embed(batch), dtype=np.float32))
    vectors = np.concatenate(rows)
    middle = vectors[core].mean(axis=0)
    cosines = vectors @ (middle / (np.linalg.norm(middle) or 1.0))
    typical = np.sort(cosines[core])
    ranks = np.searchsorted(typical, cosines, side="right") / len(typical)
    return {record.key: float(_WEIGHT * rank) for record, rank in zip(records, ranks, strict=True)}
