"""What every process that works for another one starts with: a loader's workers, a pool's, by fork or spawned."""

from __future__ import annotations

import signal

import torch


def init_worker(_: int = 0) -> None:
    """What a loader's process starts with: one thread, and Ctrl-C left to the process that it works for."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
