"""Batch normalisation with statistics of each view over all ranks, at one collective a layer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from pretrain.runtime import distributed


class ViewBatchNorm(nn.BatchNorm2d):
    """BatchNorm over (N, C, ...) for a batch of `groups` views in a row, each normalised by its own statistics.

    In training it equals passing the views one after the other, and each view updates the running statistics in turn.
    Statistics are those of all ranks together, which must hold batches of equal size. One collective averages the
    moments of all views in the forward pass, and one in the backward pass. torch.nn.SyncBatchNorm does one view at a
    time, waits for the GPU in every layer, and refuses the CPU. Inherits the parameters and buffers of BatchNorm, so
    that state dicts are interchangeable.
    """

    groups = 1
    # never None here: running statistics are always kept, and as an exponential average
    running_mean: torch.Tensor
    running_var: torch.Tensor
    num_batches_tracked: torch.Tensor
    momentum: float

    def _check_input_dim(self, input: torch.Tensor) -> None:
        """Take (N, C) rows of a projector and (N, C, H, W) maps of a trunk alike."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise (N, C, ...) by the views' statistics in training, by the running ones in evaluation."""
        if not self.training:
            return super().forward(input)
        if distributed.world_size() > 1:
            return self._over_ranks(input)
        views = [super(ViewBatchNorm, self).forward(view) for view in input.chunk(self.groups)]
        return torch.cat(views) if len(views) > 1 else views[0]

    def _over_ranks(self, input: torch.Tensor) -> torch.Tensor:
        weight = self.weight if self.affine else torch.ones_like(self.running_var)
        bias = self.bias if self.affine else torch.zeros_like(self.running_mean)
        output: torch.Tensor
        output, means, variances = OverRanks.apply(input, weight, bias, self.groups, self.eps)
        count = distributed.world_size() * input.numel() // input.shape[1] // self.groups
        with torch.no_grad():
            for mean, variance in zip(means, variances, strict=True):
                self.num_batches_tracked += 1
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * (count / max(count - 1, 1)), self.momentum)
        return output


class OverRanks(torch.autograd.Function):
    """(V·n, C, ...) normalised by the statistics of each of V views over all ranks, with the gradient through these."""

    @staticmethod
    def forward(
        ctx: Any,
        input: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        groups: int,
        eps: float,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Compute the moments, then normalise each view in one pass; the backward pass gets the input and the moments.

        Args:
            ctx: torch's context of the call; Any, as torch's types know none of its attributes.
            input: (V·n, C, ...), the views in a row.
            weight: (C,).
            bias: (C,).
            groups: V, the number of views.
            eps: added to the variances.

        Returns:
            Output like `input`, means (V, C) and variances (V, C).
        """
        input = _laid_out(input)
        means, variances = _statistics(input.chunk(groups))
        output = torch.empty_like(input)
        for view, out, mean, variance in zip(input.chunk(groups), output.chunk(groups), means, variances, strict=True):
            unused = {"save_mean": mean.new_empty(0), "save_invstd": mean.new_empty(0)}
            torch.ops.aten.native_batch_norm.out(view, weight, bias, mean, variance, False, 0.0, eps, out=out, **unused)
        ctx.save_for_backward(input, weight, means, variances)
        ctx.eps = eps
        ctx.mark_non_differentiable(means, variances)
        return output, means, variances

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of input, weight and bias; those of weight and bias are of this rank alone, for DDP to average."""
        input, weight, means, variances = ctx.saved_tensors
        inverses = torch.rsqrt(variances + ctx.eps)
        groups = len(means)
        views = list(zip(_laid_out(gradient).chunk(groups), input.chunk(groups), means, inverses, strict=True))
        sums = []
        for (received, view, mean, inverse), variance in zip(views, variances, strict=True):
            known = (mean, variance, mean, inverse)  # a CPU reads the first two, a GPU the last two
            own = torch.ops.aten.native_batch_norm_backward(
                received, view, weight, *known, False, ctx.eps, [False, True, True]
            )
            sums.append(torch.stack(own[1:]))
        own = torch.stack(sums)  # (V, 2, C): of gradient times normalised input, and of the gradient
        inputs = [
            _input_gradient(*view, weight, *both) for view, both in zip(views, distributed.all_mean(own), strict=True)
        ]
        return torch.cat(inputs), *own.sum(0), None, None


def _laid_out(batch: torch.Tensor) -> torch.Tensor:
    """Maps with their channels last, rows contiguous: then the part of each view is contiguous too."""
    return batch.contiguous(memory_format=torch.channels_last if batch.dim() == 4 else torch.contiguous_format)


def _statistics(views: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Means and variances (V, C) of views (n, C, ...) over all ranks.

    Each rank computes its own in two passes. They are averaged in float64, where E[x²] - E[x]² loses little.
    """
    own, precise = [], torch.promote_types(views[0].dtype, torch.float32)
    for view in views:
        unused = torch.zeros(2, view.shape[1], dtype=precise, device=view.device)  # but sets the precision
        own.append(torch.stack(torch.batch_norm_update_stats(view, unused[0], unused[1], 0.0)))
    moments = torch.stack(own).double()
    moments[:, 1] += moments[:, 0].square()
    means, squares = distributed.all_mean(moments).unbind(1)
    return means.to(precise), (squares - means.square()).clamp_min(0).to(precise)


def _input_gradient(
    received: torch.Tensor,
    view: torch.Tensor,
    mean: torch.Tensor,
    inverse: torch.Tensor,
    weight: torch.Tensor,
    along: torch.Tensor,
    total: torch.Tensor,
) -> torch.Tensor:
    """w / σ (g - mean(g) - x̂ mean(g x̂)), the means over all ranks; along and total, a rank's mean Σ g x̂ and Σ g."""
    count = view.numel() // view.shape[1]
    if view.is_cuda:  # one fused kernel
        counts = torch.full((1,), count, dtype=torch.int32, device=view.device)
        return torch.batch_norm_backward_elemt(received, view, mean, inverse, weight, total, along / inverse, counts)
    shape = [-1] + [1] * (view.dim() - 2)
    scale, offset, slope = (each.view(shape) for each in (weight * inverse, total / count, along / count * inverse))
    return (scale * (received - offset - (view - mean.view(shape)) * slope)).to(view.dtype)


@contextlib.contextmanager
def statistics_of_each(module: nn.Module, groups: int) -> Iterator[None]:
    """Batches that pass below `module` in train mode are `groups` views in a row, each with statistics of its own."""
    norms = [child for child in module.modules() if isinstance(child, ViewBatchNorm)]
    for norm in norms:
        norm.groups = groups
    try:
        yield
    finally:
        for norm in norms:
            norm.groups = 1


@contextlib.contextmanager
def without_running_statistics(module: nn.Module) -> Iterator[None]:
    """Keep the running statistics below `module` unchanged, for a repeated pass in train mode."""
    norms = [child for child in module.modules() if isinstance(child, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
