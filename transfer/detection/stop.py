"""Stopping a fine-tuning where it can go on, as pretraining does: after an iteration, with a checkpoint, all ranks."""

from __future__ import annotations

from collections.abc import Callable

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import hooks

from pretrain.runtime import distributed
from pretrain.runtime.errors import Stopped
from pretrain.runtime.processes.signals import Stopping, Wish


class StopOnSignal(hooks.HookBase):  # type: ignore[misc]  # detectron2 and pycocotools have no types
    """detectron2's hook that ends the training with `Stopped` once a signal asked any rank to.

    The checkpoint is detectron2's own, so `--resume` goes on from its iteration with its optimiser.

    Args: checkpointer, writes it; wish, whether a signal asked; check, called on all ranks first, may refuse.
    """

    def __init__(self, checkpointer: DetectionCheckpointer, wish: Wish, check: Callable[[], None]) -> None:
        self.checkpointer, self.stopping, self.check = checkpointer, Stopping(wish), check

    def after_step(self) -> None:
        """Save and leave; the last iteration has its own checkpoint and evaluation."""
        iteration = self.trainer.iter
        if not self.stopping.agreed() or iteration + 1 >= self.trainer.max_iter:
            return
        self.check()
        if distributed.rank() == 0:
            self.checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
        distributed.barrier()  # no rank leaves before the file is complete
        raise Stopped(
            f"stopped after iteration {iteration + 1} of {self.trainer.max_iter}: --resume goes on from there"
        )

    def after_train(self) -> None:
        """Also after an exception: no exchange between the ranks is left open."""
        self.stopping.finish()
