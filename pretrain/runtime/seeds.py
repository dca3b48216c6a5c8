"""Seeds that are a function of what they are for, the same in every process and Python version."""

from __future__ import annotations

import hashlib


def seed_of(*numbers: int) -> int:
    """A 63-bit seed for these numbers in this order, such as (run seed, epoch, image)."""
    return int.from_bytes(hashlib.blake2b(repr(numbers).encode(), digest_size=8).digest(), "big") >> 1
