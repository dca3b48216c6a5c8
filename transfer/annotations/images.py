"""Image files of a detection set: which files are images, what detectron2 will see of them, and 16 bits made 8."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from pretrain.data.decode import decode, endings
from pretrain.data.folders.walk import is_hidden, walk
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import write_atomically
from pretrain.runtime.printable import shortened
from transfer.annotations.masks import Size

EXIF_ORIENTATION = 274
QUARTER_TURNS = (5, 6, 7, 8)
LARGE = 16_000_000  # pixels of an image of which few are decoded at a time
_few = threading.Semaphore(2)


class Seen(NamedTuple):
    """What detectron2 will see of an image. size: (width, height) in pixels. deep: its grey values have 16 bits."""

    size: Size
    deep: bool


def is_image(path: Path) -> bool:
    """Whether a file's name is an image's; hidden files, such as macOS's twins ._NAME, are none."""
    return path.suffix.lower() in endings() and not is_hidden(path.name)


def images_below(folder: Path) -> list[Path]:
    """The images in a folder, at any depth, in the order of their paths; hidden folders and files left out.

    Raises:
        UserError: a folder cannot be read.
    """
    return sorted(walk(folder, endings()).images)


def images_by_stem(folder: Path) -> dict[str, list[Path]]:
    """The images in a folder itself by their names without ending; more than one where endings differ."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*")):
        if is_image(path):
            found.setdefault(path.stem, []).append(path)
    return found


def only_one(name: str, candidates: Sequence[Path], where: object) -> Path:
    """The image of a name.

    Args:
        name: without ending.
        candidates: the images of that name.
        where: what names it, for the message.

    Raises:
        UserError: there is none, or more than one.
    """
    if len(candidates) == 1:
        return candidates[0]
    found = f"is both {' and '.join(path.name for path in candidates)}: remove one" if candidates else "is missing"
    raise UserError(f"image '{shortened(name)}' of {where} {found}.")


def look_at(paths: Iterable[Path]) -> dict[Path, Seen | None]:
    """What detectron2 will see of each image, None where a file cannot be decoded to its end.

    Every file is decoded once, in threads: PIL decodes outside Python's lock. A JPEG is decoded at an eighth of its
    size, which takes about 2 ms.
    """
    paths = list(paths)
    with ThreadPoolExecutor() as pool:
        return dict(zip(paths, pool.map(_look_at, paths), strict=True))


def _look_at(path: Path) -> Seen | None:
    if not path.is_file():  # a pipe would be waited for
        return None
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(EXIF_ORIENTATION) in QUARTER_TURNS
            deep = image.mode.startswith("I")
            if image.mode == "F":  # floating-point pixels have no known range
                return None
            image.draft("RGB", (max(width // 8, 1), max(height // 8, 1)))
            if width * height > LARGE:
                with _few:
                    image.load()
            else:
                image.load()
    except Exception:  # Pillow's decoders raise many types; each means that detectron2 could not read it either
        return None
    return Seen((height, width) if turned else (width, height), deep)


def eight_bit_copy(path: str, folder: Path, bits: int) -> str:
    """A copy of a 16-bit image below `folder` that holds the high byte of the `bits` in use, as pretraining sees it.

    detectron2 would cut every value above 255: such an image would be white.

    Raises:
        UserError: the copy cannot be written.
    """
    source = Path(path)
    status = source.stat()
    mark = f"{source.resolve()} {status.st_size} {status.st_mtime_ns} {bits}"
    target = folder / hashlib.sha256(mark.encode("utf-8", "surrogateescape")).hexdigest()[:16] / f"{source.stem}.png"
    if target.is_file():
        return str(target)
    with Image.open(source) as image:
        turn = image.getexif()
    picture = Image.fromarray(decode(source.read_bytes(), source, bits)[:, :, 0])
    try:
        write_atomically(target, partial(picture.save, format="PNG", exif=turn))
    except OSError as error:
        raise UserError(f"{target} cannot be written ({error.strerror or error}): make room for it.") from error
    return str(target)
