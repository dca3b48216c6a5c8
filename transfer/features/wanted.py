"""What rows of features depend on: rows of which one thing differs are never mistaken for each other."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from pretrain.data.sources import ImageSource
from pretrain.models.pixels import IMAGENET, Pixels
from transfer.features.extract import names_of

FORMAT = "unigrad-features-1"


@dataclass(frozen=True)
class Wanted:
    """Rows of `source` from the trunk of a checkpoint, D = width, under the test transform and in a precision.

    image_size, resize: as of `evaluation_transform`, resize None where whole images are squashed. pixels: what the
    trunk's images are scaled by. kind: of rows other than the trunk's own, as "stages". interpolation: of the whole
    image, bilinear or bicubic.
    """

    checkpoint_sha256: str
    source: ImageSource
    width: int
    image_size: int
    resize: int | None
    precision: str = "fp32"
    pixels: Pixels = IMAGENET
    kind: str = ""
    interpolation: str = "bilinear"

    def about(self) -> dict[str, Any]:
        """Everything that the rows depend on."""
        about = {
            "format": FORMAT,
            "checkpoint": self.checkpoint_sha256,
            "images": images_sha256(self.source),
            "width": self.width,
            "image_size": self.image_size,
            "resize": self.resize,
        }
        if self.precision != "fp32":
            about["precision"] = self.precision
        if self.kind:
            about["kind"] = self.kind
        if self.interpolation != "bilinear":
            about["interpolation"] = self.interpolation
        return about if self.pixels == IMAGENET else about | {"pixels": list(self.pixels)}


def images_sha256(source: ImageSource) -> str:
    """Hash of the names and labels of a set's images, with each one's fingerprint.

    That of a file is its size and modification time, that of a packed image its checksum.
    """
    labels = source.labels
    digest = hashlib.sha256(json.dumps(source.classes).encode())
    for index, name in enumerate(names_of(source, range(len(source)))):
        told = f"{name}\0{-1 if labels is None else labels[index]}\0{source.fingerprint(index)}\n"
        digest.update(told.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
