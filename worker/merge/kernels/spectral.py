"""Spectral forms of task vectors: by the smaller Gram matrix's eigenvectors, which on a GPU is far faster than an SVD.

The Gram matrix is formed in fp64 where that is cheap (up to 1024 columns, or on CPU up to 4096) and in fp32 beyond:
singular values below about 3e-4 of the largest are then noise, which no method here keeps.
"""

from dataclasses import dataclass

import torch

Tensor = torch.Tensor
_EXACT_CUDA = 1024
_EXACT_CPU = 4096


@dataclass(frozen=True)
class Spectrum:
    """Singular values in descending order, with the vectors of the matrix's shorter side as columns."""

    values: Tensor
    vectors: Tensor
    rows: bool


def spectrum(matrix: Tensor) -> Spectrum:
    """Return the singular values and the left (`rows`) or right singular vectors of a matrix."""
    rows = matrix.shape[0] < matrix.shape[1]
    side = min(matrix.shape)
    exact = matrix.dtype is torch.float64 or side <= (_EXACT_CUDA if matrix.is_cuda else _EXACT_CPU)
    work = matrix.to(torch.float64 if exact else torch.float32)
    values, vectors = torch.linalg.eigh(work @ work.T if rows else work.T @ work)
    return Spectrum(values.clamp_min(0).sqrt().flip(0).to(matrix.dtype), vectors.flip(1).to(matrix.dtype), rows)


def project(matrix: Tensor, vectors: Tensor, rows: bool) -> Tensor:
    """Return the part of the matrix in the span of some of its singular vectors."""
    return vectors @ (vectors.T @ matrix) if rows else (matrix @ vectors) @ vectors.T


def factors(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the leading `rank` singular triplets (U, s, V) with the matrix ≈ U · diag(s) · Vᵀ."""
    found = spectrum(matrix)
    rank = min(rank, len(found.values))
    values, side = found.values[:rank], found.vectors[:, :rank]
    inverse = torch.where(values > values[:1] * 1e-7, 1 / values.clamp_min(1e-30), torch.zeros_like(values))
    other = (matrix.T @ side if found.rows else matrix @ side) * inverse
    return (side, values, other) if found.rows else (other, values, side)
