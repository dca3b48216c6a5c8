"""What ranks hand to torch's process groups, DDP's own collectives among it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Heard(NamedTuple):
    """A tensor that was handed over. op: as torch calls it, such as "allreduce_". group: the process group's name."""

    op: str
    bytes: int
    dtype: torch.dtype
    numbers: int
    group: str


class Listening(TorchDispatchMode):
    """Every collective that reaches torch's process groups while this is entered, in `heard`."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Heard] = []

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        if function.namespace == "c10d":
            op = function._opname
            tensors, group = {"allreduce_": (0, 1), "allgather_": (1, 2)}[op]
            name = torch.distributed.ProcessGroup.unbox(arguments[group]).group_name
            self.heard += [Heard(op, one.nbytes, one.dtype, one.numel(), name) for one in arguments[tensors]]
        return function(*arguments, **(keywords or {}))
