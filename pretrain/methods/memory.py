"""What a method remembers of past samples: modules that own buffers, saved, resumed, moved and equal on all ranks.

Buffers take their shape and precision (never below float32) from the first rows they see, or from the state they are
loaded with; until then they are empty.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError

# Side of F's blocks in an update. A narrow one leaves half the products out, but a GPU wants few and large ones: there
# the paper's width stays one block.
BLOCK, BLOCK_ON_GPU = 256, 2048


def adopt_shapes(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Before loading: give buffers that are still empty the shape that the saved ones have."""
    for name, buffer in module.named_buffers(recurse=False):
        saved = state.get(prefix + name)
        if buffer.numel() == 0 and saved is not None:
            setattr(module, name, torch.empty_like(saved, device=buffer.device))


def _at_least_float32(rows: torch.Tensor) -> torch.Tensor:
    return rows.detach().to(torch.promote_types(rows.dtype, torch.float32))


def _block(device: torch.device) -> int:
    return BLOCK if device.type == "cpu" else BLOCK_ON_GPU


def _mirror_(matrix: torch.Tensor, block: int) -> None:
    """Overwrite what is below a square matrix's diagonal by what is above it, so that it is exactly symmetric."""
    for i in range(0, len(matrix), block):
        this, later = slice(i, i + block), slice(i + block, None)
        matrix[this, this] = matrix[this, this].triu() + matrix[this, this].triu(1).T
        matrix[later, this] = matrix[this, later].contiguous().T  # strided on one side only: a quarter less time


class FeatureCorrelation(nn.Module):
    """F = Σ_v ρ_v v v^T over all past samples, as the moving average F ← ρ F + (1-ρ) mean_batch(v v^T) (Eq. 14).

    The first update copies the batch's correlation, as the official code does. F stays in float32 whatever the
    precision of the run: kept in fp16, as the official code keeps it under autocast, its off-diagonals are lost.

    Buffers: corr (C, C), empty before the first update.

    Raises:
        UserError: rho is not in [0, 1).
    """

    corr: torch.Tensor

    def __init__(self, rho: float) -> None:
        super().__init__()
        if not 0 <= rho < 1:
            raise UserError(f"rho={rho} is out of range: the moving average of F needs 0 <= rho < 1, such as 0.99.")
        self.rho = rho
        self.register_buffer("corr", torch.empty(0, 0))
        self.register_load_state_dict_pre_hook(adopt_shapes)
        self._begun: tuple[torch.Tensor, Callable[[], None]] | None = None

    @torch.no_grad()
    def begin(self, rows: torch.Tensor) -> None:
        """Start what `update` with the same rows ends, so that ranks talk while others compute: F is not to be read."""
        assert self._begun is None, "rows were begun and never taken in"
        precise = _at_least_float32(rows)
        kept, width = self.rho, rows.shape[1]
        if self.corr.numel() == 0:
            kept, self.corr = 0.0, precise.new_zeros(width, width)
        block = _block(rows.device)
        with torch.autocast(rows.device.type, enabled=False):
            for i in range(0, width, block):
                left = precise[:, i : i + block]
                self.corr[i : i + block, i:].addmm_(left.T, precise[:, i:], beta=kept, alpha=(1 - kept) / len(rows))
        # ranks hold the same F, so the mean touches the batch's part alone
        self._begun = rows, distributed.start_all_mean_(self.corr)

    @torch.no_grad()
    def update(self, rows: torch.Tensor) -> None:
        """Take in this batch: rows (M, C) of this rank, averaged over ranks, which hold equally many rows each.

        F is symmetric, so only its blocks on and above the diagonal are computed; the others are their mirror image.
        """
        if self._begun is None:
            self.begin(rows)
        (begun, finish), self._begun = self._begun, None
        assert begun.data_ptr() == rows.data_ptr(), "update got other rows than begin, or a copy of them"
        finish()
        _mirror_(self.corr, _block(rows.device))


class CurrentBatch(nn.Module):
    """V_batch: the samples of this step on all ranks; nothing is remembered.

    Attributes: rows (M, C); excluded, None, for all are valid.
    """

    rows: torch.Tensor
    excluded = None

    def update(self, rows: torch.Tensor) -> None:
        """Take in (G, n, C) samples of this rank, kept as (G·N, C) in the order of views, then ranks."""
        self.rows = distributed.all_gather(_at_least_float32(rows), axis=1).flatten(0, 1)


class NegativeQueue(nn.Module):
    """V_bank: the newest `size` samples of all ranks, this step's among them, in a ring (MoCo, Eq. 2).

    Buffers: rows (size, C), empty before the first update; num_rows, how many samples it has ever seen. `excluded`
    (size,) marks places that are not filled yet.

    Raises:
        UserError: size below 1.
    """

    rows: torch.Tensor
    num_rows: torch.Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        if size < 1:
            raise UserError(f"queue_size={size} is out of range: it must be at least the samples of one step.")
        self.size = size
        self.register_buffer("rows", torch.empty(0, 0))
        self.register_buffer("num_rows", torch.zeros((), dtype=torch.long))
        self.register_load_state_dict_pre_hook(adopt_shapes)

    @torch.no_grad()
    def update(self, rows: torch.Tensor) -> None:
        """Put (G, n, C) samples of this rank and of all others in the place of the oldest ones.

        Raises:
            UserError: the queue's size is no multiple of the samples of a step on all ranks.
        """
        rows = distributed.all_gather(_at_least_float32(rows), axis=1).flatten(0, 1)
        if self.size % len(rows):
            raise UserError(
                f"queue_size={self.size} is not divisible by the {len(rows)} samples of a step (global batch × target "
                f"views): choose a multiple, such as {max(1, round(self.size / len(rows))) * len(rows)}."
            )
        if self.rows.numel() == 0:
            self.rows = rows.new_zeros(self.size, rows.shape[1])
        places = (self.num_rows + torch.arange(len(rows), device=rows.device)) % self.size  # on the device: no sync
        self.rows.index_copy_(0, places, rows)
        self.num_rows += len(rows)

    @property
    def excluded(self) -> torch.Tensor:
        """(size,) bool: places that hold no sample yet."""
        return torch.arange(self.size, device=self.num_rows.device) >= self.num_rows
