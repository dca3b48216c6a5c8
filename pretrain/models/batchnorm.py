"""Batch normalisation with statistics of each view over all ranks, at one collective a layer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from pretrain.models import norm_kernels
from pretrain.models.norm_kernels import Norm
from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError


class ViewBatchNorm(nn.BatchNorm2d):
    """BatchNorm over (N, C, ...) for a batch of `groups` views in a row, each normalised by its own statistics.

    In training it equals passing the views one after the other, and each view updates the running statistics in turn.
    Statistics are those of all ranks together, which must hold batches of equal size. One collective averages the
    moments of all views in the forward pass, and one in the backward pass. torch.nn.SyncBatchNorm does one view at a
    time, waits for the GPU in every layer, and refuses the CPU. Inherits the parameters and buffers of BatchNorm, so
    that state dicts are interchangeable.
    """

    groups = 1
    frozen = False  # in evaluation mode whatever its network is put into (frozen.py)
    # never None here: running statistics are always kept, and as an exponential average
    running_mean: torch.Tensor
    running_var: torch.Tensor
    num_batches_tracked: torch.Tensor
    momentum: float

    def _check_input_dim(self, input: torch.Tensor) -> None:
        """Take (N, C) rows of a projector and (N, C, H, W) maps of a trunk alike."""

    def train(self, mode: bool = True) -> ViewBatchNorm:
        """Training mode, or evaluation mode; frozen norms stay in the latter."""
        return super().train(mode and not self.frozen)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise (N, C, ...) by the views' statistics in training, by the running ones in evaluation."""
        if not self.training:
            return super().forward(input)
        if distributed.world_size() > 1:
            return self._over_ranks(input)
        views = [super(ViewBatchNorm, self).forward(view) for view in input.chunk(self.groups)]
        return torch.cat(views) if len(views) > 1 else views[0]

    def alone(self, input: torch.Tensor) -> torch.Tensor:
        """As torch's own does it with one batch, whatever the number of views and ranks."""
        return super().forward(input)

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


class ActingViewBatchNorm(ViewBatchNorm):
    """A ViewBatchNorm with an activation behind it in the same module, as timm's BatchNormAct2d has it.

    Inherits for its state's names, as ViewBatchNorm does. `drop` and `act` are the modules of the one it replaces.
    """

    drop: nn.Module
    act: nn.Module

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise, then act."""
        output: torch.Tensor = self.act(self.drop(super().forward(input)))
        return output

    def alone(self, input: torch.Tensor) -> torch.Tensor:
        """Likewise."""
        output: torch.Tensor = self.act(self.drop(super().alone(input)))
        return output


def use_in(network: nn.Module) -> None:
    """Give every BatchNorm of a network statistics of each view over all ranks, in place; its state stays as it is.

    Raises:
        UserError: a kind of batch normalisation that is not known here, whose statistics would be those of all views.
    """
    for module in network.modules():
        if not isinstance(module, nn.modules.batchnorm._BatchNorm) or isinstance(module, ViewBatchNorm):
            continue
        if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d):
            module.__class__ = ViewBatchNorm
        elif type(module).__name__ == "BatchNormAct2d":
            module.__class__ = ActingViewBatchNorm
        else:
            raise UserError(
                f"model.arch: the network normalises by {type(module).__name__}, for which there are no statistics of "
                "each view: choose a network with BatchNorm, LayerNorm or GroupNorm."
            )


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
        input = norm_kernels.laid_out(input)
        means, variances = _over_all_ranks(norm_kernels.moments(input, groups))
        output = norm_kernels.normalise(input, Norm(means, variances, weight, bias, eps))
        ctx.save_for_backward(input, means, variances, weight, bias)
        ctx.eps = eps
        ctx.mark_non_differentiable(means, variances)
        return output, means, variances

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of input, weight and bias; those of weight and bias are of this rank alone, for DDP to average."""
        input, means, variances, weight, bias = ctx.saved_tensors
        norm = Norm(means, variances, weight, bias, ctx.eps)
        gradient = norm_kernels.laid_out(gradient)
        own = norm_kernels.gradient_sums(gradient, input, norm)
        inputs = norm_kernels.input_gradient(gradient, input, norm, distributed.all_mean(own))
        return inputs, *own.sum(0), None, None


def _over_all_ranks(moments: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Means and variances (V, C) over all ranks from the moments (V, 2, C) of this one.

    They are averaged in float64, where E[x²] - E[x]² loses little.
    """
    means, variances = moments.double().unbind(1)
    means, squares = distributed.all_mean(torch.stack([means, variances + means.square()], 1)).unbind(1)
    return norm_kernels.of_type(means, moments.dtype), norm_kernels.of_type(
        (squares - means.square()).clamp_min(0), moments.dtype
    )


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
