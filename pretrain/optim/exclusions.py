"""Which parameters an optimiser leaves out of weight decay and of adaptation to a layer's norm, as named rules.

Nothing here imports torch: the options list the names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

TOKENS = ("cls_token", "reg_token", "dist_token", "pos_embed", "relative_position_bias_table")


class Exclusion(NamedTuple):
    """A rule. of(name, dimensions) says whether a parameter is left out of decay, and of adaptation if `adapts` is not.

    Args: of, the predicate; adapts, whether what does not decay still adapts under LARS and LAMB.
    """

    of: Callable[[str, int], bool]
    adapts: bool = False


def is_vector(name: str, dimensions: int) -> bool:
    """Biases, and the weights of norms: all parameters of one dimension at most."""
    return dimensions <= 1


def _is_token(name: str, dimensions: int) -> bool:
    """Learned places and tokens of a transformer, which timm leaves out of decay too."""
    return name.rpartition(".")[2] in TOKENS


EXCLUSIONS = {
    "none": Exclusion(lambda name, dimensions: False),
    "vectors": Exclusion(is_vector),
    "vectors_from_decay": Exclusion(is_vector, adapts=True),
    "vectors_and_tokens": Exclusion(
        lambda name, dimensions: is_vector(name, dimensions) or _is_token(name, dimensions)
    ),
}
