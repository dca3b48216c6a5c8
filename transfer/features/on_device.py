"""Rows and numbers on their way to a GPU: kept there whole where they fit, and copied without the host waiting."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from transfer.features.rows import RowFile, blocks

SPARE = 4 * 2**30  # bytes of the device's memory that kept rows leave free: for products, sorting and other processes
PART = 2**13  # rows that are copied at once


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """What a frozen trunk's forward pass runs under; `precision` as `chosen_precision` returns it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def chosen_precision(asked: str, device: torch.device) -> str:
    """fp32 or bf16: what is `asked`, where that is auto bf16 on a GPU that computes in it and fp32 elsewhere."""
    if asked != "auto":
        return asked
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if fast else "fp32"


def to_device(values: torch.Tensor, device: torch.device | None) -> torch.Tensor:
    """A copy on the device, through pinned memory where that is a GPU, so that the host does not wait for it."""
    if device is None or device.type != "cuda" or values.is_cuda:
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


def to_host(values: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Start to copy to the host; the returned call waits for that, and for nothing that was launched later."""
    if not values.is_cuda:
        return lambda: values
    arriving = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    arriving.copy_(values, non_blocking=True)
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch's own
    copied.record()

    def arrived() -> torch.Tensor:
        copied.synchronize()
        return arriving.clone()  # in ordinary memory, so that many of them do not fill up what is pinned

    return arrived


def one_behind(started: Iterable[Callable[[], Any]], device: torch.device) -> Iterator[Any]:
    """What each call returns, in their order; on a GPU it is called once the work of the next one was begun.

    Args: started, calls that finish work which was started as they were made; device, where that runs.
    """
    waiting: Callable[[], Any] | None = None
    for finish in started:
        if device.type != "cuda":
            yield finish()
            continue
        if waiting is not None:
            yield waiting()
        waiting = finish
    if waiting is not None:
        yield waiting()


class DeviceRows:
    """Rows (n, D) that a device reads again and again.

    On a GPU whose memory has room for all of them they are copied there once. Elsewhere each block is copied when it is
    read. A CPU reads them where they are.

    Attributes: home, where the rows lie, and where indices for `pick` have to.
    """

    def __init__(self, rows: torch.Tensor | RowFile, device: torch.device | None = None) -> None:
        self.rows, self.device = rows, device
        on_device = isinstance(rows, torch.Tensor) and rows.is_cuda
        if device is not None and device.type == "cuda" and not on_device and has_room(rows, device):
            self.rows = _copied(rows, device)
        self.home = self.rows.device if isinstance(self.rows, torch.Tensor) else torch.device("cpu")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def copied_each_time(self) -> bool:
        """Whether a GPU had no room for them, so that each reading copies all of them there."""
        return self.device is not None and self.device.type == "cuda" and self.home.type == "cpu"

    @property
    def width(self) -> int:
        """D."""
        return int(self.rows.shape[1])

    def blocks(self, size: int) -> Iterator[torch.Tensor]:
        """Blocks of `size` rows on the device, the last one perhaps smaller."""
        return (to_device(block, self.device) for block in blocks(self.rows, size))

    def pick(self, at: torch.Tensor) -> torch.Tensor:
        """Rows at the indices `at`, which lie at `home`; on the device."""
        return to_device(self.rows[at], self.device)


def whole(rows: torch.Tensor | RowFile, device: torch.device) -> torch.Tensor:
    """All rows (n, D) on the device; a file's go to a GPU block by block, and never fill the host's memory."""
    on_device = isinstance(rows, torch.Tensor) and rows.is_cuda
    return _copied(rows, device) if device.type == "cuda" and not on_device else rows[:].to(device)


def has_room(rows: torch.Tensor | RowFile, device: torch.device) -> bool:
    """Whether all rows fit on a GPU and leave SPARE bytes there."""
    free, _ = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch's own, between tensors
    return free + unused - SPARE >= len(rows) * rows.shape[1] * 4


def _copied(rows: torch.Tensor | RowFile, device: torch.device) -> torch.Tensor:
    """All rows on the device, block by block, so that the host never pins more than a few of them."""
    kind = rows.dtype if isinstance(rows, torch.Tensor) else torch.float32
    whole = torch.empty(*rows.shape, dtype=kind, device=device)
    for block, place in zip(blocks(rows, PART), torch.split(whole, PART), strict=True):
        place.copy_(block.pin_memory(), non_blocking=True)
    return whole
