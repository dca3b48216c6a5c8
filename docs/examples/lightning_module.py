"""The objective in a LightningModule: python docs/examples/lightning_module.py IMAGES."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable

import lightning
import torch
from parts import WIDTH, Branches, batches

from pretrain.methods import build
from pretrain.objective import objective


class UniGrad(lightning.LightningModule):
    """The form is a module, so that its memory is in Lightning's checkpoints and moves with the device."""

    def __init__(self, branches: Branches) -> None:
        super().__init__()
        self.branches, self.form = branches, build("unigrad", width=WIDTH)

    def training_step(self, views: torch.Tensor, index: int) -> torch.Tensor:
        """Views (2, n, 3, S, S) to a scalar whose gradient is the method's; its value is no loss."""
        self.branches.follow()
        online, targets = self.branches(views)
        return sum(objective(self.form, online, targets).values())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Of the online branch alone."""
        return torch.optim.SGD(self.branches.online.parameters(), lr=0.1, momentum=0.9)


def train(branches: Branches, views: Iterable[torch.Tensor], steps: int) -> None:
    """Train in place for some steps."""
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = lightning.Trainer(max_steps=steps, max_epochs=1, enable_model_summary=False, **quiet)
    trainer.fit(UniGrad(branches), itertools.islice(views, steps))  # a list would be several loaders


if __name__ == "__main__":
    branches = Branches()
    train(branches, batches(sys.argv[1]), steps=200)
