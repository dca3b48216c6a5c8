"""The paper: gradients with respect to unit rows, one pure function an equation term.

Every method is a positive gradient plus a balance factor times a negative gradient (Eq. 13). u1 is a row of the online
branch, u2 the row of the other view from the target branch, v a sample; all functions take n rows of C channels and
return gradients of the same shape. The 1/N of the paper's equations is the mean over rows taken in
`pretrain.objective`. Nothing here is differentiated and nothing crosses a rank: samples arrive as gathered constants.
"""

from __future__ import annotations

import torch


def attract(u2: torch.Tensor) -> torch.Tensor:
    """Positive gradient of every unified form: -u2 (Eq. 4, 12, 14; rows a, b, e, g, h, j).

    Args: u2 (n, C), what u1 is drawn towards: the other view's target row. Returns (n, C).
    """
    return -u2


def attract_through(u2: torch.Tensor, through: torch.Tensor) -> torch.Tensor:
    """Positive gradient behind a linear map: -W u2 of DirectPred (Eq. 7, row d), -A u2 of Barlow Twins (Eq. 9, row f).

    Args: u2 (n, C); through (C, C), symmetric, or (C,), the diagonal of a diagonal map. Returns (n, C).
    """
    return -(u2 * through if through.dim() == 1 else u2 @ through)


def repel_softmax(
    u1: torch.Tensor, samples: torch.Tensor, temperature: float, excluded: torch.Tensor | None = None
) -> torch.Tensor:
    """Negative gradient of contrastive methods: Σ_v s_v v, s the softmax of cos(u1, v)/τ over V (Eq. 2, 4; rows a, b).

    Args:
        u1: (n, C) unit rows of one view.
        samples: (M, C) unit rows, V.
        temperature: τ.
        excluded: bool, broadcastable to (n, M); true where v is not in V for this row.

    Returns: (n, C).
    """
    logits = u1 @ samples.T / temperature
    if excluded is not None:
        logits = logits.masked_fill(excluded, -torch.inf)
    return logits.softmax(-1) @ samples


def repel_as_sample(
    u1: torch.Tensor, samples: torch.Tensor, temperature: float, excluded: torch.Tensor
) -> torch.Tensor:
    """What u1 receives as a sample of the others when the target is not detached: Σ_v t_v v (Eq. 3, second bracket).

    t_v = exp(cos(v, u1)/τ) / Σ_{y∈V, y≠v} exp(cos(v, y)/τ): how strongly v's own softmax repels from u1.

    Args:
        u1: (n, C) unit rows of one view.
        samples: (M, C) unit rows, V.
        temperature: τ.
        excluded: bool (n, M), true where v is u1 itself.

    Returns: (n, C).
    """
    among = samples @ samples.T / temperature
    among.fill_diagonal_(-torch.inf)
    logits = u1 @ samples.T / temperature - among.logsumexp(-1)
    return logits.masked_fill(excluded, -torch.inf).exp() @ samples


def repel_correlation(u1: torch.Tensor, corr: torch.Tensor) -> torch.Tensor:
    """Negative gradient of UniGrad and DirectPred: F u1 = Σ_v ρ_v (u1·v) v (Eq. 7, 14; rows d, e).

    Args: u1 (n, C) unit rows of one view; corr (C, C), the symmetric F, of trace 1 for unit samples.
    Returns (n, C); not tangent to the sphere: the part along u1 is removed by the normalisation's own backward.
    """
    return u1 @ corr


def repel_cross(u: torch.Tensor, weighing: torch.Tensor, samples: torch.Tensor) -> torch.Tensor:
    """Negative gradient of decorrelation methods: Σ_v (u·w_v / M) v over the batch (Eq. 9, 11, 12; rows f to j).

    Barlow Twins weighs by the second view, (u2·v2/M) v1; VICReg by the first, (u1·v1/M) v1, which is the product with
    the batch's own correlation: repel_correlation(u1, v1^T v1 / M).

    Args: u (n, C), u2 or u1; weighing (M, C), v2 or v1; samples (M, C), v1, in the order of `weighing`. Returns (n, C).
    """
    return (u @ weighing.T) @ samples / len(samples)


def direct_predictor(corr: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """DirectPred's predictor W = (F/λ_max)^{1/2} + ε I (Eq. 6, in the official code's form), through eigh.

    The paper's F^{1/2} + ε λ_max I is the same up to scale for another ε; the loss does not see the scale.

    Args: corr (C, C), the symmetric F. Returns: W (C, C), symmetric, and λ_max, a scalar.
    """
    values, vectors = torch.linalg.eigh(corr)
    largest = values[-1].clamp_min(torch.finfo(corr.dtype).tiny)
    roots = (values / largest).clamp_min(0).sqrt() + eps
    return (vectors * roots) @ vectors.T, largest


def twice_predicted(
    u1: torch.Tensor, predicted: torch.Tensor, corr: torch.Tensor, largest: torch.Tensor, eps: float, middle: bool
) -> torch.Tensor:
    """W W u1 = F u1/λ_max + 2ε (F/λ_max)^{1/2} u1 + ε² u1 (Eq. 25); without the middle term, Eq. 27, the official loss.

    Args:
        u1: (n, C) unit rows of one view.
        predicted: (n, C), W u1.
        corr: (C, C), the symmetric F.
        largest: scalar, λ_max of F.
        eps: ε of `direct_predictor`.
        middle: whether the middle term is kept.

    Returns: (n, C).
    """
    outer = repel_correlation(u1, corr) / largest + eps**2 * u1
    return outer + 2 * eps * (predicted - eps * u1) if middle else outer


def spread(centred: torch.Tensor, balance: float, variance: float, gamma: float) -> torch.Tensor:
    """λB of VICReg (Eq. 11): it removes the diagonal of the covariance and adds the hinge on the deviation.

    λB = N/(C(N-1)) (2 λ1 W'_diag + λ2/2 · 1(γ > std) / std), with λ1 = λ C (N-1)² / (2 N²).

    Args:
        centred: (N, C) rows of the global batch, less their mean.
        balance: λ.
        variance: λ2, weight of the hinge.
        gamma: γ, the standard deviation below which the hinge acts.

    Returns: (C,).
    """
    n, width = centred.shape
    diagonal = centred.square().sum(0) / (n - 1)
    deviation = diagonal.sqrt()
    hinge = (deviation < gamma) / deviation.clamp_min(1e-4)  # VICReg's own floor, reached only by a collapsed channel
    first = balance * width * (n - 1) ** 2 / (2 * n**2)
    return n / (width * (n - 1)) * (2 * first * diagonal + variance / 2 * hinge)
