"""The order of an epoch over several roots with weights: how often each root is drawn from, and which of its images.

An epoch has as many places as all roots together have images, N. Root k fills m_k of them: its share of N, rounded by
largest remainders, so that the places are N. It goes through its n_k images in a fresh permutation each time, and goes
on in the next epoch where it stopped: over the epochs every image of a root is seen equally often, but for one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pretrain.runtime.seeds import seed_of

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Mixture:
    """sizes (K,): images of each root, n_k. weights (K,): shares of the places, which sum to 1."""

    sizes: tuple[int, ...]
    weights: tuple[float, ...]

    def places(self) -> list[int]:
        """How many places of an epoch each root fills, m_k."""
        total = sum(self.sizes)
        exact = [weight * total for weight in self.weights]
        whole = [int(one) for one in exact]
        rest = sorted(range(len(exact)), key=lambda at: (whole[at] - exact[at], at))
        for at in rest[: total - sum(whole)]:
            whole[at] += 1
        return whole

    def order(self, seed: int, epoch: int) -> torch.Tensor:
        """int64 (N,): the image at each place of an epoch, a function of (seed, epoch) alone.

        Image i has the number i + r N where a root's images come again for the r-th time in one epoch, so that its
        views are drawn anew; modulo N it is the image.
        """
        import torch

        total, begin = sum(self.sizes), 0
        parts = []
        for root, (size, places) in enumerate(zip(self.sizes, self.places(), strict=True)):
            start, stop = epoch * places, (epoch + 1) * places
            for again, number in enumerate(range(start // size, -(-stop // size))):
                generator = torch.Generator().manual_seed(seed_of(seed, root, number, size))
                order = torch.randperm(size, generator=generator)
                whole = order[max(0, start - number * size) : max(0, stop - number * size)]
                parts.append(whole + begin + again * total)
            begin += size
        generator = torch.Generator().manual_seed(seed_of(seed, epoch))
        return torch.cat(parts)[torch.randperm(total, generator=generator)]
