"""Residual blocks that add nothing, as those of a network whose last norms start at weight 0 before it has learned."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

NORM = re.compile(r"(layer\d+\.\d+)\.bn(\d)\.weight")


def silent_blocks(state: Mapping[str, Tensor]) -> int:
    """How many blocks have a last norm of weight 0, so that they add the same numbers to every image.

    Such a network sees images through its shortcuts alone. At small sizes it is far weaker, as a baseline, than the
    same network with live blocks.

    Args: state, tensors of a trunk under torchvision's names.
    """
    last: dict[str, tuple[int, Tensor]] = {}
    for name, weight in state.items():
        hit = NORM.fullmatch(name)
        if hit and int(hit[2]) > last.get(hit[1], (0, weight))[0]:
            last[hit[1]] = int(hit[2]), weight
    return sum(not weight.any() for _, weight in last.values())
