"""Convolutions on a CPU: over small maps the gradient of their weights is a product of matrices for each tap.

oneDNN adds it up image by image, and reads and writes all weights each time. Where a map has fewer pixels than a kernel
has weights, memory bounds that: 512 to 512 channels over 1 x 1 take 80 times as long as here, over 4 x 4 still longer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

MOST_PIXELS = 16  # of a map that counts as small: from 8 x 8 on oneDNN is as fast or faster (measured)


class Convolution(nn.Conv2d):
    """torch.nn.Conv2d, and its results to rounding; faster to train over small maps on a CPU, in float32 or float64.

    Inherits the parameters of Conv2d, so that state dicts are interchangeable.
    """

    def _conv_forward(self, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        zeros = isinstance(self.padding, tuple) and self.padding_mode == "zeros"
        plain = zeros and self.groups == 1 and self.dilation == (1, 1) and bias is None and input.dim() == 4
        output: torch.Tensor
        if plain and self._pays(input, weight):
            output = SmallMaps.apply(input, weight, self.stride, self.padding)
        else:
            output = super()._conv_forward(input, weight, bias)
        return output

    def _pays(self, input: torch.Tensor, weight: torch.Tensor) -> bool:
        """Whether a gradient of the weights is wanted, over small maps, where and in the precision that it is for."""
        pixels = input.shape[-2] * input.shape[-1] // (self.stride[0] * self.stride[1])
        wanted = torch.is_grad_enabled() and weight.requires_grad and pixels <= MOST_PIXELS
        return wanted and input.device.type == "cpu" and not torch.is_autocast_enabled("cpu")


def use_in(network: nn.Module) -> None:
    """Make every Conv2d of `network` a Convolution, in place; parameters and random numbers stay as they are."""
    for module in network.modules():
        if type(module) is nn.Conv2d:
            module.__class__ = Convolution  # which has the same state: a new module would draw new weights


class SmallMaps(torch.autograd.Function):
    """conv2d of (N, C, H, W) with weights (K, C, R, S), whose gradient comes from `weight_gradient`."""

    @staticmethod
    def forward(
        ctx: Any, input: torch.Tensor, weight: torch.Tensor, stride: tuple[int, int], padding: tuple[int, int]
    ) -> torch.Tensor:
        """Torch's own forward pass.

        Args:
            ctx: torch's context of the call; Any, as torch's types know none of its attributes.
            input: (N, C, H, W).
            weight: (K, C, R, S).
            stride: down and across.
            padding: of zeros, down and across.
        """
        ctx.save_for_backward(input, weight)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv2d(input, weight, None, stride, padding)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of input, by torch's own backward pass, and weight."""
        input, weight = ctx.saved_tensors
        known = (None, ctx.stride, ctx.padding, (1, 1), False, (0, 0), 1)
        inputs = None
        if ctx.needs_input_grad[0]:
            wanted = (True, False, False)
            inputs, *_ = torch.ops.aten.convolution_backward(gradient, input, weight, *known, wanted)
        return inputs, weight_gradient(input, gradient, weight, ctx.stride, ctx.padding), None, None


def weight_gradient(
    input: torch.Tensor, gradient: torch.Tensor, weight: torch.Tensor, stride: tuple[int, int], padding: tuple[int, int]
) -> torch.Tensor:
    """Gradient of the weights: for each tap the pixels that it saw times the gradients of what it made of them.

    Taps that saw nothing but padding cost nothing.

    Args:
        input: (N, C, H, W).
        gradient: (N, K, H', W'), of the output.
        weight: (K, C, R, S), for its form.
        stride: down and across.
        padding: of zeros, down and across.
    """
    pixels, rows = input.permute(0, 2, 3, 1), gradient.permute(0, 2, 3, 1)
    found = torch.zeros_like(weight)
    sizes = list(zip(stride, padding, input.shape[2:], gradient.shape[2:], strict=True))
    for down in range(weight.shape[2]):
        for across in range(weight.shape[3]):
            (seen_y, made_y), (seen_x, made_x) = (
                _reach(tap, *size) for tap, size in zip((down, across), sizes, strict=True)
            )
            made = rows[:, made_y, made_x].reshape(-1, rows.shape[-1])
            if len(made):
                found[:, :, down, across] = made.T @ pixels[:, seen_y, seen_x].reshape(-1, pixels.shape[-1])
    return found


def _reach(tap: int, stride: int, padding: int, seen: int, made: int) -> tuple[slice, slice]:
    """The pixels, of `seen`, under one tap in one direction, and the outputs, of `made`, that it gave to."""
    first = max(0, -((tap - padding) // stride))
    last = max(first, min(made, (seen - 1 + padding - tap) // stride + 1))
    start = first * stride + tap - padding
    return slice(start, start + (last - first) * stride, stride), slice(first, last)
