"""Batch normalisation over the rows of all ranks, on the CPU too."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from pretrain import comm


class CrossRankBatchNorm(nn.BatchNorm2d):
    """BatchNorm over (N, C, ...) whose training statistics are those of all ranks together.

    torch.nn.SyncBatchNorm does the same on GPUs only and refuses gloo; ranks must hold batches of equal size. Inherits
    for the parameters and buffers of BatchNorm, so state dicts are interchangeable.
    """

    def _check_input_dim(self, input: torch.Tensor) -> None:
        """Take (N, C) rows of a projector and (N, C, H, W) maps of a trunk alike."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise (N, C, ...) by the statistics of all ranks in training, by the running ones in evaluation."""
        if not self.training:
            return super().forward(input)
        from fvcore.nn.distributed import differentiable_all_reduce  # here, for its import warns on newer torch

        values = input.to(torch.promote_types(input.dtype, torch.float32))
        axes = [axis for axis in range(values.dim()) if axis != 1]
        moments = torch.stack([values.mean(axes), values.square().mean(axes)])
        mean, square = (differentiable_all_reduce(moments) / comm.world_size()).unbind()
        variance = square - mean.square()
        self._remember(mean.detach(), variance.detach(), values.numel() // values.shape[1] * comm.world_size())
        scale = torch.rsqrt(variance + self.eps)
        scale = scale * self.weight if self.affine else scale
        shift = self.bias - mean * scale if self.affine else -mean * scale
        shape = [1, -1] + [1] * (values.dim() - 2)
        return (values * scale.view(shape) + shift.view(shape)).to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: torch.Tensor, variance: torch.Tensor, count: int) -> None:
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / max(count - 1, 1)), self.momentum)


def synchronise(module: nn.Module, device: torch.device) -> nn.Module:
    """Replace every BatchNorm below `module` by one over all ranks; nothing is changed in a single process."""
    if comm.world_size() == 1:
        return module
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            across = CrossRankBatchNorm(child.num_features, child.eps, child.momentum, child.affine)
            across = across.to(child.running_mean.dtype)
            across.load_state_dict(child.state_dict())
            setattr(module, name, across)
        else:
            synchronise(child, device)
    return module


@contextlib.contextmanager
def without_running_statistics(module: nn.Module) -> Iterator[None]:
    """Leave the running statistics below `module` as they are, in a pass in train mode that is made once more."""
    norms = [child for child in module.modules() if isinstance(child, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
