"""Memory that runs out ends a run in a sentence: what the device has, what is taken of it, and what to change."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import torch

from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError

SAID = ("DefaultCPUAllocator", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")  # no class of their own
GIB = 2**30


def ran_out(error: BaseException) -> bool:
    """Whether an error says that a device or the host has no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in SAID)


def taken(device: torch.device) -> tuple[int, int]:
    """Bytes of the device's whole memory and those that this process has of it; of the host's for a CPU."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1], torch.cuda.memory_reserved(device)
    page = os.sysconf("SC_PAGE_SIZE")
    resident = int(Path("/proc/self/statm").read_text().split()[1]) if Path("/proc/self/statm").exists() else 0
    return os.sysconf("SC_PHYS_PAGES") * page, resident * page


@contextlib.contextmanager
def shortage_told(device: torch.device, remedy: str) -> Iterator[None]:
    """End in a sentence where memory runs out within.

    Args:
        device: whose memory is told of.
        remedy: what to change, as an imperative.

    Raises:
        UserError: it has run out.
    """
    try:
        yield
    except Exception as error:
        if not ran_out(error):
            raise
        whole, own = (f"{size / GIB:.1f} GiB" for size in taken(device))
        who = f" of rank {distributed.rank()}" if distributed.world_size() > 1 else ""
        raise UserError(
            f"the memory of {device}{who} has run out ({' '.join(str(error).split())[:200]}): it has {whole}, of which "
            f"this process has {own}; {remedy}."
        ) from error
