"""Whether every rank has read the same weights."""

from __future__ import annotations

from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError


def check_same(given: str, sha256: str) -> None:
    """Refuse, on every rank, weights that are others on some of them; every rank calls this.

    Args: given, what this rank was given: a path, or a name on a hub; sha256, of the file that it has read.

    Raises:
        UserError: the ranks have read different files, as where a name on a hub moved between two of their questions.
    """
    seen = sorted(set(distributed.gathered(sha256)))
    if len(seen) > 1:
        raise UserError(
            f"{given} is not the same file for all ranks (SHA-256 {', '.join(seen)}): give a file on a folder that all "
            "machines share, and let nobody write to it; of a hub, a name with its commit."
        )
