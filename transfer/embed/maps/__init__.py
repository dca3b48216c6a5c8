"""Maps of features in two dimensions: a file of this folder each, with MAP; a file that is added is one more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from pretrain.runtime.registry import collect

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Map:
    """One of them.

    Args:
        name: as it is typed.
        about: one line of --help.
        place: (rows (n, D) of length 1, seed) to places (n, 2).
        needs: libraries, by the module that is imported the name that pip installs.
    """

    name: str
    about: str
    place: Callable[[np.ndarray, int], np.ndarray]
    needs: Mapping[str, str] = field(default_factory=dict)


@cache
def maps() -> dict[str, Map]:
    """All of them by name."""
    return {one.name: one for one in collect(__name__, "MAP")}
