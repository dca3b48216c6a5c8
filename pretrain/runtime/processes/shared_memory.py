"""Room for batches: workers hand them over in shared memory, which containers often keep small."""

from __future__ import annotations

import os
from pathlib import Path

from pretrain.runtime.errors import UserError

PLACE = Path("/dev/shm")
IN_USE = 2  # batches that the receiver still holds while the workers make the next ones
MIB = 2**20


def needed(batch: int, workers: int, prefetch: int) -> int:
    """Bytes that batches of `batch` bytes take at most, each of `workers` being `prefetch` ahead."""
    return (workers * prefetch + IN_USE) * batch if workers else 0


def mebibytes(count: int) -> int:
    """Bytes in MiB, rounded up."""
    return -(-count // MIB)


def shortage(need: int, remedy: str, place: Path = PLACE) -> str:
    """A sentence where less than `need` bytes are free; "" where they are, or where nobody can say.

    Args: remedy, what to lower, such as "data.workers". place, where shared memory is mounted.
    """
    try:
        about = os.statvfs(place)
    except OSError:  # another system, which keeps it elsewhere
        return ""
    free = about.f_bavail * about.f_frsize
    if not about.f_blocks or need <= free:  # a file system without a limit counts no blocks
        return ""
    return (
        f"the loader's workers need {mebibytes(need)} MiB of shared memory, and {place} has {free // MIB} MiB free: "
        f"give it more (docker run --shm-size={mebibytes(need) + 64}m), or lower {remedy}."
    )


def check_room(need: int, remedy: str) -> None:
    """Refuse a loader whose batches do not fit.

    Args: need, in bytes. remedy, what to lower.

    Raises:
        UserError: with both sizes in MiB.
    """
    if told := shortage(need, remedy):
        raise UserError(told)
