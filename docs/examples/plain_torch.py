"""The objective in a plain loop of torch: python docs/examples/plain_torch.py IMAGES."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable

import torch
from parts import WIDTH, Branches, batches

from pretrain.methods import build
from pretrain.objective import objective


def train(branches: Branches, views: Iterable[torch.Tensor], steps: int, method: str = "unigrad") -> None:
    """Train in place for some steps; `method` is any row of Table 2 on unit rows.

    Args:
        branches: what is trained.
        views: (2, n, 3, S, S), a batch a step.
        steps: how many.
        method: a name of pretrain.methods.TABLE_2.
    """
    form = build(method, width=WIDTH)
    optimizer = torch.optim.SGD(branches.online.parameters(), lr=0.1, momentum=0.9)
    for step, batch in enumerate(itertools.islice(views, steps), 1):
        branches.follow()
        online, targets = branches(batch)
        terms = objective(form, online, targets)  # scalars whose gradient is the method's
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        if step % 20 == 0:
            print(f"step {step}  cosine of positive pairs {(online[0] * targets[1]).sum(1).mean():.3f}")


if __name__ == "__main__":
    branches = Branches()
    train(branches, batches(sys.argv[1]), steps=200)
    torch.save(branches.online[0].state_dict(), "trunk.pth")  # as torchvision names it, without fc
