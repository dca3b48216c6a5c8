"""The objective in a loop as lightly's examples have it: python docs/examples/lightly_loop.py IMAGES.

lightly's data set, views and moving average; of ours, the objective in the place of lightly's loss.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable

import torch
from lightly.data import LightlyDataset
from lightly.models.utils import deactivate_requires_grad, update_momentum
from lightly.transforms import MoCoV2Transform
from parts import WIDTH, Branches

from pretrain.methods import build
from pretrain.objective import objective


def train(branches: Branches, loader: Iterable[tuple[list[torch.Tensor], ...]], steps: int) -> None:
    """Train in place for some steps; a batch begins with its views, as lightly's do."""
    form = build("unigrad", width=WIDTH)
    deactivate_requires_grad(branches.target)
    optimizer = torch.optim.SGD(branches.online.parameters(), lr=0.1, momentum=0.9)
    for batch in itertools.islice(loader, steps):
        update_momentum(branches.online, branches.target, m=0.99)
        online, targets = branches(torch.stack(batch[0]))
        loss = sum(objective(form, online, targets).values())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


if __name__ == "__main__":
    images = LightlyDataset(sys.argv[1], transform=MoCoV2Transform(input_size=32))
    loader = torch.utils.data.DataLoader(images, batch_size=64, shuffle=True, drop_last=True)
    train(Branches(), itertools.chain.from_iterable(itertools.repeat(loader)), steps=200)
