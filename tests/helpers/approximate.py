"""Arithmetic that a GPU does less exactly than a CPU, planted into what runs on a CPU."""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class ApproximateDivision(TorchDispatchMode):
    """Quotients in float32 that are off by up to 2 units in their last place, as those of Triton are."""

    def __init__(self):
        super().__init__()
        self.seed, self.divided = torch.Generator().manual_seed(0), 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        out = function(*arguments, **(keywords or {}))
        if function.overloadpacket in (torch.ops.aten.div, torch.ops.aten.div_, torch.ops.aten.reciprocal):
            off = torch.randint(-2, 3, out.shape, generator=self.seed)
            out.view(torch.int32).add_(off.int() * (out != 0))
            self.divided += 1
        return out
