"""A SHA-256 for every tensor of a file, so that a damaged tensor is told by its name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from pretrain.runtime.errors import UserError

KEY = "digests"  # where our files hold them
NAMED = 4  # damaged tensors that a message names


def digests_of(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Hex SHA-256 of the bytes of each tensor, by name."""
    return {name: hashlib.sha256(bytes_of(tensor)).hexdigest() for name, tensor in state.items()}


def bytes_of(tensor: Tensor) -> bytes:
    """The bytes of a tensor's numbers in their order."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def check_digests(path: Path, state: Mapping[str, Tensor], told: object) -> None:
    """Compare tensors with the digests that their file holds.

    Args:
        path: of the file.
        state: tensors by name.
        told: what the file holds as digests; None where it is older than they are.

    Raises:
        UserError: naming the tensors that are others than were written.
    """
    if told is None:
        return
    held = told if isinstance(told, Mapping) else {}
    wrong = [name for name, digest in digests_of(state).items() if held.get(name) != digest]
    if wrong:
        more = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        raise UserError(
            f"{path} holds other tensors than were written into it: the SHA-256 of {', '.join(wrong[:NAMED])}{more} is "
            "not the one that it carries; it is damaged or was changed: copy, export or convert it again."
        )
