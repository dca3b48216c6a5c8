"""What stands beside a result file: the outcomes of its images, a trained head, pictures."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from PIL import Image

from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import write_atomically
from transfer import per_image
from transfer.classifiers.linear.linear_head import Origin, save_head
from transfer.evaluators import Outcome
from transfer.features.pictures import resize_for
from transfer.per_image import PerImage
from transfer.source import Source


def keep_per_image(file: Path, outcomes: PerImage) -> str:
    """Write the outcomes of images beside a result file, by the first process; their file's name.

    Raises:
        UserError: it cannot be written.
    """
    path = file.with_name(f"{file.stem}-images.npz")
    try:
        if distributed.rank() == 0:
            per_image.save(path, outcomes)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): make room for it.") from error
    return path.name


def keep_head(file: Path, source: Source, outcome: Outcome) -> str:
    """Write a trained head beside a result file, by the first process; its file's name."""
    path, common = file.with_name(f"{file.stem}-head.pth"), source.common
    seen = common.image_size, resize_for(common.image_size, common.resize)
    if distributed.rank() == 0 and outcome.head is not None:
        origin = Origin(source.trunk_sha256, tuple(source.data.train.classes), *seen, outcome.protocol)
        save_head(path, outcome.head, origin)
    return path.name


def draw(file: Path, name: str, drawing: Callable[[], Image.Image]) -> str:
    """Write a picture as a PNG beside a result file, atomically; its name.

    Raises:
        UserError: it cannot be written.
    """
    path = file.with_name(f"{file.stem}-{name}.png")
    try:
        write_atomically(path, partial(drawing().save, format="PNG"))
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): make room for it; {file} is whole.") from error
    return path.name
