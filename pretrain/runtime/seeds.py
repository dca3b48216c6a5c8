"""Seeds that are a function of what they are for, the same in every process and Python version."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator


def seed_of(*numbers: int) -> int:
    """A 63-bit seed for these numbers in this order, such as (run seed, epoch, image)."""
    return int.from_bytes(hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest(), "big") >> 1


@contextlib.contextmanager
def drawing_from(seed: int) -> Iterator[None]:
    """What torch draws on the host inside comes from this seed; afterwards its generator is where it was.

    Not by torch.manual_seed, which seeds every kind of device too. Where one is not in use yet, it notes the call stack
    for later, with each call: for each image that took more time than reading it.
    """
    import torch

    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(state)
