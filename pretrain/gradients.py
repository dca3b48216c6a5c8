"""The paper: gradients with respect to unit rows, one pure function an equation term.

Every method is a positive gradient plus a balance factor times a negative gradient (Eq. 13). u1 is a row of the online
branch, u2 the row of the other view from the target branch; all functions take n rows of C channels and return
gradients of the same shape. The 1/N of the paper's equations is the mean over rows taken in `pretrain.objective`.
"""

from __future__ import annotations

import torch


def attract(u2: torch.Tensor) -> torch.Tensor:
    """Positive gradient of every unified form: -u2 (Eq. 4, 12, 14).

    Args: u2 (n, C), what u1 is drawn towards: the other view's target row. Returns (n, C).
    """
    return -u2


def repel_correlation(u1: torch.Tensor, corr: torch.Tensor) -> torch.Tensor:
    """Negative gradient of UniGrad and DirectPred: F u1 = Σ_v ρ_v (u1·v) v (Eq. 7, 14).

    Args: u1 (n, C) unit rows of one view; corr (C, C), the symmetric F, of trace 1 for unit samples.
    Returns (n, C); not tangent to the sphere: the part along u1 is removed by the normalisation's own backward.
    """
    return u1 @ corr
