"""Sorting names the way people count."""

from __future__ import annotations

import re


def natural_key(text: str) -> list[str | float]:
    """A sort key by which 1024 comes before 16384: words and numbers in turn."""
    parts = re.split(r"(\d+(?:\.\d+)?)", text)
    return [float(part) if place % 2 else part for place, part in enumerate(parts)]
