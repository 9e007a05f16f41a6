"""How alike works are, and what that says of their categories: learned from works whose categories are known.

A work is the words and word pairs of its title, weighed by rarity, and its sentence embedding where there is one. Two
ways lead from known categories to unknown ones. Learning: regularized least squares on the labeled works, the linear
form of kernel ridge regression. Spreading: each work takes part of what its nearest neighbors show, so that uncertain
evidence is smoothed over works that are alike (Zhou et al. 2004, 'Learning with Local and Global Consistency').

Settings are the same for every topic. Memory grows with the works, not with their square.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, cg

from agents.survey.dedupe import Found
from agents.survey.text import stems
from agents.survey.wording import terms_of

NEIGHBORS = 20
SHARE = 0.5
RIDGE = 2.0
# What words weigh beside meaning: half, where there are embeddings.
_WORDS_WEIGHT = 0.5
_LEAST_TITLES = 2
_STEPS = 30
_STARTS = 4
_BLOCK = 512
Rows = NDArray[np.float64]


class Likeness:
    """The works of a survey as points; `tokens` are the stems of their titles, `vectors` their unit embeddings."""

    def __init__(self, tokens: Sequence[Sequence[str]], vectors: NDArray[np.float32] | None = None) -> None:
        wording = _tf_idf(tokens)
        if vectors is None:
            self._features = sparse.csr_matrix(wording)
        else:
            scaled = wording * math.sqrt(_WORDS_WEIGHT)
            self._features = sparse.hstack([sparse.csr_matrix(vectors.astype(np.float64)), scaled]).tocsr()
        self.size = len(tokens)

    def learned(self, labels: Rows) -> Rows:
        """Return what the labeled works teach of all works; a row of `labels` without any label is unlabeled."""
        known = np.flatnonzero(labels.sum(axis=1) > 0)
        if not len(known):
            return np.zeros_like(labels)
        seen = self._features[known]
        system = LinearOperator(
            (len(known), len(known)), matvec=lambda x: seen @ (seen.T @ x) + RIDGE * x, dtype=np.float64
        )
        weights = np.column_stack([cg(system, labels[known, c], rtol=1e-6)[0] for c in range(labels.shape[1])])
        return np.asarray(self._features @ (seen.T @ weights))

    def spread(self, evidence: Rows) -> Rows:
        """Return evidence smoothed over neighbors, each row on the scale of what was given."""
        graph = self._graph()
        spread = evidence.copy()
        for _ in range(_STEPS):
            spread = SHARE * (graph @ spread) + (1.0 - SHARE) * evidence
        return spread

    def nearest(self, one: int, others: Sequence[int]) -> int:
        """Return which of some works is most like one."""
        likeness = np.asarray((self._features[list(others)] @ self._features[one].T).todense()).ravel()
        return others[int(likeness.argmax())]

    def groups(self, count: int) -> list[list[int]]:
        """Return the works in groups of alike ones, by spherical k-means; the best of a few fixed starts."""
        norms = np.sqrt(np.asarray(self._features.multiply(self._features).sum(axis=1)).ravel())
        unit = sparse.csr_matrix(sparse.diags(1.0 / np.maximum(norms, 1e-12)) @ self._features)
        best, nearest = -np.inf, np.zeros(self.size, dtype=np.int64)
        for start in range(_STARTS):
            chosen = np.random.default_rng(start).choice(self.size, size=min(count, self.size), replace=False)
            centers = np.asarray(unit[chosen].todense())
            for _ in range(_STEPS):
                likeness = np.asarray(unit @ centers.T)
                assigned = likeness.argmax(axis=1)
                members = sparse.csr_matrix(
                    (np.ones(self.size), (assigned, np.arange(self.size))), shape=(len(centers), self.size)
                )
                sums = np.asarray((members @ unit).todense())
                centers = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
            gained = float(likeness.max(axis=1).sum())
            if gained > best:
                best, nearest = gained, assigned
        return [np.flatnonzero(nearest == group).tolist() for group in range(count)]

    def _graph(self) -> sparse.csr_matrix:
        """Return the symmetric, normalized graph of nearest neighbors."""
        count = min(NEIGHBORS, self.size - 1)
        rows, columns, weights = [], [], []
        for start in range(0, self.size if count > 0 else 0, _BLOCK):
            block = np.asarray((self._features[start : start + _BLOCK] @ self._features.T).todense())
            block[np.arange(len(block)), np.arange(start, start + len(block))] = -np.inf
            nearest = np.argpartition(-block, count - 1, axis=1)[:, :count]
            rows.append(np.repeat(np.arange(start, start + len(block)), count))
            columns.append(nearest.ravel())
            weights.append(np.maximum(np.take_along_axis(block, nearest, axis=1).ravel(), 0.0))
        if not rows:
            return sparse.csr_matrix((self.size, self.size))
        places = (np.concatenate(rows), np.concatenate(columns))
        directed = sparse.csr_matrix((np.concatenate(weights), places), shape=(self.size, self.size))
        mutual = directed.maximum(directed.T)
        degree = np.asarray(mutual.sum(axis=1)).ravel()
        scale = sparse.diags(1.0 / np.sqrt(np.maximum(degree, 1e-12)))
        return sparse.csr_matrix(scale @ mutual @ scale)


def likeness_of(found: Sequence[Found], vectors: Mapping[str, NDArray[np.float32]]) -> Likeness:
    """Return the likeness of works by their titles, and by their embeddings if all have one."""
    return Likeness([stems(f.work.title) for f in found], _stacked([f.key for f in found], vectors))


def _stacked(keys: Sequence[str], vectors: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32] | None:
    """Return the embeddings of works as rows, or None unless all of them have one."""
    return np.stack([vectors[k] for k in keys]) if keys and all(k in vectors for k in keys) else None


def _tf_idf(tokens: Sequence[Sequence[str]]) -> sparse.csr_matrix:
    held = [set(terms_of(list(t))) for t in tokens]
    counts = Counter(term for terms in held for term in terms)
    column = {t: i for i, t in enumerate(sorted(t for t, n in counts.items() if n >= _LEAST_TITLES))}
    entries = [
        (row, column[term], math.log(len(held) / counts[term]))
        for row, terms in enumerate(held)
        for term in sorted(terms)
        if term in column
    ]
    rows, columns, weights = zip(*entries, strict=True) if entries else ((), (), ())
    matrix = sparse.csr_matrix((weights, (rows, columns)), shape=(len(held), max(1, len(column))), dtype=np.float64)
    norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    return sparse.csr_matrix(sparse.diags(1.0 / np.maximum(norms, 1e-12)) @ matrix)
