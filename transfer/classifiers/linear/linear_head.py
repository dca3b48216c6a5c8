"""A trained linear head in a file, with the trunk that it belongs to: it judges further images of the same classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import load_torch, save_torch
from pretrain.runtime.printable import shortened
from transfer.features.rows import RowFile, blocks

FORMAT = "unigrad-head-1"
CHUNK = 2**14  # rows scored at once


@dataclass(frozen=True)
class Head:
    """scores = rows weight^T + bias, of rows as the trunk gives them: weight (classes, D) and bias (classes,)."""

    weight: torch.Tensor
    bias: torch.Tensor

    def scores(self, rows: torch.Tensor | RowFile) -> torch.Tensor:
        """(n, D) rows to (n, classes) scores, in float64."""
        return torch.cat([part.double() @ self.weight.T + self.bias for part in blocks(rows, CHUNK)])


def unstandardised(weight: torch.Tensor, bias: torch.Tensor, mean: torch.Tensor, scale: torch.Tensor) -> Head:
    """The head of plain rows that scores as weight and bias do on (rows - mean) · scale; float64, on the CPU.

    Args:
        weight: (classes, D).
        bias: (classes,).
        mean, scale: (D,).
    """
    weight, bias, mean, scale = (values.detach().double().cpu() for values in (weight, bias, mean, scale))
    scaled = weight * scale
    return Head(scaled, bias - scaled @ mean)


@dataclass(frozen=True)
class Origin:
    """What a head was trained on.

    trunk_sha256: of the trunk's tensors. classes: names in the order of its rows. image_size, resize: of the test
    transform. protocol: how it was trained, in words.
    """

    trunk_sha256: str
    classes: tuple[str, ...]
    image_size: int
    resize: int
    protocol: str


def save_head(path: Path, head: Head, origin: Origin) -> None:
    """Write a head, atomically.

    Raises:
        UserError: it cannot be written.
    """
    content = {"format": FORMAT, "weight": head.weight, "bias": head.bias, **asdict(origin)}
    try:
        save_torch(path, content | {"classes": list(origin.classes)})
    except (OSError, RuntimeError) as error:  # torch's writer raises the latter on a full disk
        raise UserError(f"{path} cannot be written ({error}): make room for it.") from error


def load_head(path: Path, trunk_sha256: str | None = None) -> tuple[Head, Origin]:
    """Read what `save_head` wrote.

    Args: trunk_sha256, of the trunk that it is used with; None leaves that open.

    Raises:
        UserError: no such file, or the head of another trunk.
    """
    content = load_torch(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT or not _sound(content):
        raise UserError(f"{path} is no head: give a file that `tools/evaluate.py linear` wrote beside its result.")
    fields = {name: content[name] for name in ("trunk_sha256", "image_size", "resize", "protocol")}
    origin = Origin(**fields, classes=tuple(content["classes"]))
    if trunk_sha256 not in (None, origin.trunk_sha256):
        raise UserError(
            f"{path} was trained on another trunk (its tensors' sha256 begins with {origin.trunk_sha256[:8]}, not with "
            f"{str(trunk_sha256)[:8]}): give the head of this checkpoint, or the checkpoint of this head."
        )
    return Head(content["weight"], content["bias"]), origin


def _sound(content: dict[str, Any]) -> bool:
    weight, bias, classes = (content.get(name) for name in ("weight", "bias", "classes"))
    if not (isinstance(weight, torch.Tensor) and isinstance(bias, torch.Tensor) and isinstance(classes, list)):
        return False
    texts = [*classes, content.get("trunk_sha256"), content.get("protocol")]
    numbers = [content.get("image_size"), content.get("resize")]
    shapes = weight.dim() == 2 and bias.shape == weight.shape[:1] and len(classes) == len(weight)
    kinds = all(isinstance(one, str) for one in texts) and all(isinstance(one, int) for one in numbers)
    return shapes and kinds and weight.dtype == bias.dtype == torch.float64


def places(origin: Origin, classes: Sequence[str], where: object) -> list[int]:
    """The row of a head for each of `classes`.

    Args: where, what has these classes, for the message.

    Raises:
        UserError: the head lacks one.
    """
    row = {name: place for place, name in enumerate(origin.classes)}
    foreign = [name for name in classes if name not in row]
    if foreign:
        raise UserError(
            f"{where} has {len(foreign)} of {len(classes)} classes that the head has not, such as "
            f"'{shortened(foreign[0])}': give a head of all these classes."
        )
    return [row[name] for name in classes]
