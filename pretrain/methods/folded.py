"""A symmetric matrix as the half of its numbers that says all of it, so that no more go over the wire.

The upper triangle of (C, C) is three parts: two triangles and a square between them. The square stays as it is. One
triangle is laid upside down against the other, which makes a rectangle. (Gustavson et al., 2010, "Rectangular full
packed format", do so for LAPACK.)
"""

from __future__ import annotations

import torch


def numbers(width: int) -> int:
    """How many numbers the upper triangle of (width, width) has."""
    return width * (width + 1) // 2


def fold(matrix: torch.Tensor) -> torch.Tensor:
    """The upper triangle of (C, C) as (2h+1, C-h) with h = C // 2, which has C (C+1) / 2 numbers."""
    half = len(matrix) // 2
    folded = matrix.new_empty(2 * half + 1, len(matrix) - half)
    folded[:half] = matrix[:half, half:]
    rest, own = folded[half:], matrix[half:, half:].triu()
    rest[: len(own)] = own
    rest[len(own) :] = 0
    rest[1 : 1 + half, :half] += matrix[:half, :half].T.tril()
    return folded


def unfold_(matrix: torch.Tensor, folded: torch.Tensor) -> None:
    """Write what `fold` made into the upper triangle of (C, C); what it holds below the diagonal is left undefined."""
    half = len(matrix) // 2
    matrix[:half, half:] = folded[:half]
    rest = folded[half:]
    matrix[half:, half:] = rest[: len(matrix) - half]
    matrix[:half, :half] = rest[1 : 1 + half, :half].T
