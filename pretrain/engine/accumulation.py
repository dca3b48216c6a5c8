"""A batch that does not fit on the device at once, passed in parts, with the gradient of the whole batch.

Let u be all rows of the batch and L the objective. By the chain rule dL/dθ = Σ_parts (du_part/dθ)^T dL/du_part. So the
rows of all parts are computed without a graph, dL/du once from all of them, and then each part is passed again and its
share of dL/du sent back through it (Gao et al., 2021, "GradCache"). What is of the whole batch: F, the queue, softmaxes
and correlations over the batch, and the predictor of row c with its batch normalisation. What is of a part: the batch
normalisation of trunk, projector and rows. The price is one more forward of the online branch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import torch
from torch import nn

Views = Sequence[torch.Tensor]


def split(views: Views, count: int) -> list[list[torch.Tensor]]:
    """`count` parts of the images of views (V, n, 3, S, S); n must be divisible by it."""
    return [list(part) for part in zip(*(group.chunk(count, dim=1) for group in views), strict=True)]


def rows_of(branch: Callable[[Views], torch.Tensor], views: Views, count: int) -> torch.Tensor:
    """(K, n, C) rows of all images, passed in `count` parts."""
    return torch.cat([branch(part) for part in split(views, count)], dim=1)


def put_together(passes: Sequence[torch.Tensor], count: int) -> torch.Tensor:
    """(V, n, D) from what was kept of `count` parts: (v, n / count, D) of the passes of each part, in their order."""
    each = len(passes) // count
    return torch.cat([torch.cat(list(passes[first : first + each])) for first in range(0, len(passes), each)], dim=1)


def send_back(branch: nn.Module, views: Views, gradient: torch.Tensor, count: int) -> None:
    """Pass each part of the batch forward again and send its share of the gradient back through the branch.

    Ranks average their gradients at the last part only.

    Args:
        branch: the online network, possibly wrapped for several ranks; its parameters' gradients add up.
        views: all K views of the n images of this rank.
        gradient: (K, n, C), of the loss with respect to the branch's output.
        count: number of parts that the n images are split into.
    """
    *first, last = zip(split(views, count), gradient.chunk(count, dim=1), strict=True)
    no_sync: Callable[[], contextlib.AbstractContextManager[None]] | None = getattr(branch, "no_sync", None)
    alone = no_sync() if no_sync else contextlib.nullcontext()
    with alone:
        for part, share in first:
            branch(part).backward(share)
    branch(last[0]).backward(last[1])
