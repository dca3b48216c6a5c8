"""The paper's losses, written naively from their equations: explicit sums over samples and channels, no code of ours.

One file a family of rows; a file that is added here is found by itself. Every function of ORACLES takes what one step
is about and returns the scalar whose autograd gradient a row must equal:
    rows      (2, n, C) online rows, with gradients
    targets   (2, n, C) target rows of this step, constants
    history   target rows of all steps, this one's last, for the methods that remember
    settings  the row's numbers (balance and its own options), and `form`, for what it learns
The mean of two symmetric halves is taken at the end, as the official code does.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from helpers.oracles.explicit import Oracle

ORACLES: dict[str, Oracle] = {}
for _module in pkgutil.iter_modules(__path__):
    ORACLES |= getattr(import_module(f"{__name__}.{_module.name}"), "ORACLES", {})
