"""What batch normalisation of several views does to a whole map, each view by statistics of its own.

Outside of a compiled graph, torch's fused kernels do it view by view. In a compiled graph each is a formula for all
views at once: the compiler fuses it with its neighbours, and torch 2.10 cannot compile the kernels that write into a
part of a map. Maps (V·n, C, ...) are V views in a row, as `laid_out` leaves them; all sums are over n and places.
"""

from __future__ import annotations

from typing import NamedTuple

import torch


class Norm(NamedTuple):
    """By what maps are normalised: means and variances (V, C), weight and bias (C,), and what is added to variances."""

    means: torch.Tensor
    variances: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor
    eps: float


def laid_out(maps: torch.Tensor) -> torch.Tensor:
    """Maps with their channels last, rows contiguous: then the part of each view is contiguous too."""
    return maps.contiguous(memory_format=torch.channels_last if maps.dim() == 4 else torch.contiguous_format)


def of_type(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """`values` in `dtype`, always as a tensor of its own.

    What an autograd function returns must be no other of its results. Else torch 2.11 compiles a backward pass whose
    gradients are wrong, and says nothing (pytorch issue 180642).
    """
    return values.to(dtype, copy=True)


def moments(maps: torch.Tensor, groups: int) -> torch.Tensor:
    """Mean and biased variance of each of V = `groups` views, (V, 2, C), in float32 or better and in two passes."""
    precise = torch.promote_types(maps.dtype, torch.float32)
    if torch.compiler.is_compiling():
        variances, means = torch.var_mean(_views(maps.to(precise), groups), _all_but_channels(maps), correction=0)
        return torch.stack([means, variances], 1)
    own = []
    for view in maps.chunk(groups):
        unused = torch.zeros(2, view.shape[1], dtype=precise, device=view.device)  # but sets the precision
        own.append(torch.stack(torch.batch_norm_update_stats(view, unused[0], unused[1], 0.0)))
    return torch.stack(own)


def normalise(maps: torch.Tensor, norm: Norm) -> torch.Tensor:
    """w x̂ + b, like `maps`; x̂ is a map less its mean and over its standard deviation."""
    if torch.compiler.is_compiling():
        own = (norm.means, norm.weight * _inverses(norm), norm.bias.expand_as(norm.means))
        means, scales, bias = (_of_every_image(each, maps) for each in own)
        return of_type((maps - means) * scales + bias, maps.dtype)
    groups = len(norm.means)
    output = torch.empty_like(maps)
    for view, out, mean, variance in zip(
        maps.chunk(groups), output.chunk(groups), norm.means, norm.variances, strict=True
    ):
        unused = {"save_mean": mean.new_empty(0), "save_invstd": mean.new_empty(0)}
        known = (norm.weight, norm.bias, mean, variance)
        torch.ops.aten.native_batch_norm.out(view, *known, False, 0.0, norm.eps, out=out, **unused)
    return output


def gradient_sums(gradients: torch.Tensor, maps: torch.Tensor, norm: Norm) -> torch.Tensor:
    """Σ g x̂ and Σ g of each view, (V, 2, C): the gradients of weight and bias that a view contributes."""
    groups, inverses = len(norm.means), _inverses(norm)
    if torch.compiler.is_compiling():
        means, scales = (_of_every_image(each, maps) for each in (norm.means, inverses))
        received = gradients.to(inverses.dtype)
        summed = (received * (maps - means) * scales, received)
        return torch.stack([_views(each, groups).sum(_all_but_channels(maps)) for each in summed], 1)
    sums = []
    for received, view, mean, variance, inverse in zip(
        gradients.chunk(groups), maps.chunk(groups), norm.means, norm.variances, inverses, strict=True
    ):
        known = (mean, variance, mean, inverse)  # a CPU reads the first two, a GPU the last two
        own = torch.ops.aten.native_batch_norm_backward(
            received, view, norm.weight, *known, False, norm.eps, [False, True, True]
        )
        sums.append(torch.stack(own[1:]))
    return torch.stack(sums)


def input_gradient(gradients: torch.Tensor, maps: torch.Tensor, norm: Norm, sums: torch.Tensor) -> torch.Tensor:
    """w / σ (g - mean(g) - x̂ mean(g x̂)), like `maps`.

    Args:
        gradients: g, those of the normalised maps.
        maps: what was normalised.
        norm: by what.
        sums: (V, 2, C), Σ g x̂ and Σ g of each view, as `gradient_sums` computes them; the mean of all ranks' sums.
    """
    groups, inverses = len(norm.means), _inverses(norm)
    count = maps.numel() // maps.shape[1] // groups
    if maps.is_cuda and not torch.compiler.is_compiling():  # one fused kernel a view
        counts = torch.full((1,), count, dtype=torch.int32, device=maps.device)
        views = zip(gradients.chunk(groups), maps.chunk(groups), norm.means, inverses, sums, strict=True)
        return torch.cat(
            [
                torch.batch_norm_backward_elemt(
                    received, view, mean, inverse, norm.weight, total, along / inverse, counts
                )
                for received, view, mean, inverse, (along, total) in views
            ]
        )
    along, total = (sums / count).unbind(1)
    known = (norm.weight * inverses, total, norm.means, along * inverses)
    whole = (gradients, maps, *(_of_every_image(each, maps) for each in known))
    if torch.compiler.is_compiling():
        return _combined(*whole)
    return torch.cat([_combined(*view) for view in zip(*(each.chunk(groups) for each in whole), strict=True)])


def _combined(
    gradients: torch.Tensor,
    maps: torch.Tensor,
    scales: torch.Tensor,
    offsets: torch.Tensor,
    means: torch.Tensor,
    slopes: torch.Tensor,
) -> torch.Tensor:
    return (scales * (gradients - offsets - (maps - means) * slopes)).to(maps.dtype)


def _inverses(norm: Norm) -> torch.Tensor:
    return torch.rsqrt(norm.variances + norm.eps)


def _views(maps: torch.Tensor, groups: int) -> torch.Tensor:
    """(V·n, C, ...) to (V, n, C, ...)."""
    return maps.view(groups, -1, *maps.shape[1:])


def _all_but_channels(maps: torch.Tensor) -> tuple[int, ...]:
    """The axes of sums over maps (V·n, C, ...) as `_views` takes them apart."""
    return 1, *range(3, maps.dim() + 1)


def _of_every_image(values: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """(V, C) to (V·n, C, 1, ...), to meet maps (V·n, C, ...): the compiler copies maps that are taken apart."""
    repeated = values.repeat_interleave(len(maps) // len(values), 0)
    return repeated.view(*repeated.shape, *[1] * (maps.dim() - 2))
