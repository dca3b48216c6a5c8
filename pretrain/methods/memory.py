"""What a method remembers of past samples: modules with buffers, which are saved and resumed, and equal on all ranks.

A buffer is empty at first. It takes its shape and precision (never below float32) from the first rows that it sees, or
from the state that is loaded into it. Each module says what it sends in a step and what it holds (collectives.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from pretrain.methods.collectives import FLOAT, Sent, Shapes, gathered_rows
from pretrain.methods.folded import fold, numbers, unfold_
from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError

# Side of F's blocks in an update. Narrow blocks leave half of the products out, which pays on a CPU. A GPU is faster
# with few and large products: there the paper's width stays one block.
BLOCK, BLOCK_ON_GPU = 256, 2048


def adopt_shapes(module: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Give buffers that are still empty the shape of the saved ones, before these are loaded.

    Args: module, whose buffers; state, what is loaded; prefix, of the module's names in it.
    """
    for name, buffer in module.named_buffers(recurse=False):
        saved = state.get(prefix + name)
        if buffer.numel() == 0 and saved is not None:
            setattr(module, name, torch.empty_like(saved, device=buffer.device))


def _at_least_float32(rows: torch.Tensor) -> torch.Tensor:
    return rows.detach().to(torch.promote_types(rows.dtype, torch.float32))


def _block(device: torch.device) -> int:
    return BLOCK if device.type == "cpu" else BLOCK_ON_GPU


def _mirror_(matrix: torch.Tensor, block: int) -> None:
    """Copy the upper triangle of a square matrix to the lower one, so that it is exactly symmetric."""
    for i in range(0, len(matrix), block):
        this, later = slice(i, i + block), slice(i + block, None)
        matrix[this, this] = matrix[this, this].triu() + matrix[this, this].triu(1).T
        matrix[later, this] = matrix[this, later].contiguous().T  # strided on one side only: a quarter less time


class FeatureCorrelation(nn.Module):
    """F = Σ_v ρ_v v v^T over all past samples, as the moving average F ← ρ F + (1-ρ) mean_batch(v v^T) (Eq. 14).

    The first update copies the batch's correlation, as the official code does. F stays in float32 whatever the
    precision of the run: kept in fp16, as the official code keeps it under autocast, its off-diagonals are lost.

    Args: rho, in [0, 1). Buffers: corr (C, C), empty before the first update.
    """

    corr: torch.Tensor

    def __init__(self, rho: float) -> None:
        super().__init__()
        assert 0 <= rho < 1, f"rho={rho}"
        self.rho = rho
        self.register_buffer("corr", torch.empty(0, 0))
        self.register_load_state_dict_pre_hook(adopt_shapes)  # type: ignore[no-untyped-call]  # torch has no types here
        self._begun: tuple[torch.Tensor, torch.Tensor | None, Callable[[], None] | None] | None = None

    @torch.no_grad()
    def begin(self, rows: torch.Tensor) -> None:
        """Start what `update` with the same rows ends: F's all-reduce then runs during other work.

        Until `update`, F must not be read.
        """
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
        # all ranks hold the same F, so their mean changes only the part of this batch
        folded = fold(self.corr) if distributed.world_size() > 1 else None
        finish = distributed.start_all_mean_(folded, distributed.F) if folded is not None else None
        self._begun = rows, folded, finish

    @torch.no_grad()
    def update(self, rows: torch.Tensor) -> None:
        """Take in this batch: rows (M, C) of this rank, averaged over ranks, which hold equally many rows each.

        F is symmetric, so only its blocks on and above the diagonal are computed, and only the triangle there is sent;
        the rest is its mirror image.
        """
        if self._begun is None:
            self.begin(rows)
        assert self._begun is not None
        (begun, folded, finish), self._begun = self._begun, None
        assert begun.data_ptr() == rows.data_ptr(), "update got other rows than begin, or a copy of them"
        if folded is not None and finish is not None:
            finish()
            unfold_(self.corr, folded)
        _mirror_(self.corr, _block(rows.device))

    def sent(self, shapes: Shapes) -> list[Sent]:
        """The half of F that says all of it, once a step."""
        return [Sent("F", "all_reduce", numbers(shapes.width) * FLOAT, 1)]

    def held(self, shapes: Shapes) -> int:
        """F, in bytes."""
        return shapes.width * shapes.width * FLOAT


class CurrentBatch(nn.Module):
    """V_batch: the samples of this step on all ranks; nothing is remembered.

    Attributes: rows (M, C); excluded, None, since all of them are valid.
    """

    rows: torch.Tensor
    excluded = None

    def update(self, rows: torch.Tensor) -> None:
        """Take in (G, n, C) samples of this rank, kept as (G·N, C) in the order of views, then ranks."""
        self.rows = distributed.all_gather(_at_least_float32(rows), axis=1).flatten(0, 1)

    def sent(self, shapes: Shapes) -> list[Sent]:
        """The samples of this rank, once."""
        return [gathered_rows(shapes, 1, views=shapes.global_views)]

    def held(self, shapes: Shapes) -> int:
        """The samples of all ranks, in bytes."""
        return shapes.global_views * shapes.batch * shapes.width * FLOAT


class NegativeQueue(nn.Module):
    """V_bank: the newest `size` samples of all ranks, this step's among them, in a ring (MoCo, Eq. 2).

    Args: size, at least 1. Buffers: rows (size, C), empty before the first update; num_rows, how many samples it has
    ever seen. `excluded` (size,) marks places that are not filled yet.
    """

    rows: torch.Tensor
    num_rows: torch.Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        assert size > 0, f"size={size}"
        self.size = size
        self.register_buffer("rows", torch.empty(0, 0))
        self.register_buffer("num_rows", torch.zeros((), dtype=torch.long))
        self.register_load_state_dict_pre_hook(adopt_shapes)  # type: ignore[no-untyped-call]  # torch has no types here

    @torch.no_grad()
    def update(self, rows: torch.Tensor) -> None:
        """Put (G, n, C) samples of this rank and of all others in the place of the oldest ones.

        Raises:
            UserError: the queue's size is no multiple of the samples of a step on all ranks.
        """
        rows = distributed.all_gather(_at_least_float32(rows), axis=1).flatten(0, 1)
        self.check_fits(len(rows))
        if self.rows.numel() == 0:
            self.rows = rows.new_zeros(self.size, rows.shape[1])
        places = (self.num_rows + torch.arange(len(rows), device=rows.device)) % self.size  # on the device: no sync
        self.rows.index_copy_(0, places, rows)
        self.num_rows += len(rows)

    def check_fits(self, samples: int) -> None:
        """Refuse a size that is no multiple of the samples of a step on all ranks.

        Raises:
            UserError: with a size that is.
        """
        if self.size % samples:
            raise UserError(
                f"method.queue_size={self.size} is not divisible by the {samples} samples of a step (the global "
                "views of optim.batch_size images): choose a multiple, such as "
                f"{max(1, round(self.size / samples)) * samples}."
            )

    def sent(self, shapes: Shapes) -> list[Sent]:
        """The samples of this rank, once."""
        return [gathered_rows(shapes, 1, views=shapes.global_views)]

    def held(self, shapes: Shapes) -> int:
        """The queue, in bytes."""
        return self.size * shapes.width * FLOAT

    @property
    def excluded(self) -> torch.Tensor:
        """(size,) bool: places that hold no sample yet."""
        return torch.arange(self.size, device=self.num_rows.device) >= self.num_rows
