"""What a process starts with that works for another one: a loader's worker, forked or started anew."""

from __future__ import annotations

import torch

from pretrain.runtime.interrupts import leave_interrupts_to_parent


def init_worker(_: int) -> None:
    """A loader's `worker_init_fn`: one thread, and Ctrl-C left to the process that it works for."""
    torch.set_num_threads(1)
    leave_interrupts_to_parent()
