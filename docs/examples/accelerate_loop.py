"""The objective in a loop of Accelerate: accelerate launch docs/examples/accelerate_loop.py IMAGES."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable

import torch
from accelerate import Accelerator
from parts import WIDTH, Branches, batches

from pretrain.methods import build
from pretrain.objective import objective


def train(branches: Branches, views: Iterable[torch.Tensor], steps: int) -> None:
    """Train in place for some steps; device, precision and the ranks' gradients are Accelerate's.

    With several ranks the form also averages its samples over them, through torch's default process group.
    """
    accelerator = Accelerator()
    optimizer = torch.optim.SGD(branches.online.parameters(), lr=0.1, momentum=0.9)
    wrapped, optimizer = accelerator.prepare(branches, optimizer)
    form = build("unigrad", width=WIDTH).to(accelerator.device)
    for batch in itertools.islice(views, steps):
        branches.follow()
        online, targets = wrapped(batch.to(accelerator.device))
        optimizer.zero_grad()
        accelerator.backward(sum(objective(form, online, targets).values()))
        optimizer.step()


if __name__ == "__main__":
    branches = Branches()
    train(branches, batches(sys.argv[1]), steps=200)
