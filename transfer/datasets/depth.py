"""Images with depth images beside them: 16-bit PNG with parts of a metre, 0 where the depth is not known."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from pretrain.data.sources import ImageSource
from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import printable
from transfer.annotations.labels import Pairs, folder_pairs
from transfer.datasets.labelled import Labelled
from transfer.datasets.splits import DepthSplits

DEEP = ("I;16", "I;16B", "I")  # modes in which Pillow opens a 16-bit PNG
NYU = {"train": 795, "test": 654}  # the published split of the labelled set
FRAME = re.compile(r"^(?:rgb|sync_depth)_")


def open_depth(root: Path, splits: DepthSplits) -> Labelled:
    """The train and test images of a folder, with `Labelled.label_images`, which `depth_image` reads.

    Raises:
        UserError: no such layout or split, or a depth image of another kind or size, or without any depth.
    """
    read = _layout(root, splits)
    parts = {"train": read(splits.train or "train"), "test": read(splits.test or "test")}
    for pairs in parts.values():
        with ThreadPoolExecutor() as pool:
            list(pool.map(partial(_check, per_metre=splits.per_metre), pairs))
    train, test = (_source(root, pairs, part) for part, pairs in parts.items())
    files = [
        {source.key(at): depth for at, (_, depth) in enumerate(pairs)}
        for source, pairs in zip((train, test), parts.values(), strict=True)
    ]
    published = {part: len(pairs) for part, pairs in parts.items()} == NYU
    name = printable(root.resolve().name)
    return Labelled(name, train, test, label_images=(files[0], files[1]), published=published)


def depth_image(path: Path, per_metre: float) -> np.ndarray:
    """The depth (H, W) in metres, float32, 0 where it is not known.

    Raises:
        UserError: it cannot be read, or has no 16 bits.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in DEEP:
                raise ValueError(f"its mode is {image.mode}, not a grey of 16 bits")
            return np.asarray(image).astype(np.float32) / np.float32(per_metre)
    except Exception as error:  # Pillow's decoders raise many types; each means the same to the user
        raise UserError(
            f"{path} cannot be read as a depth image ({error}): write depths.per_metre parts of a metre as 16-bit PNG."
        ) from error


def _layout(root: Path, splits: DepthSplits) -> Callable[[str], Pairs]:
    """What reads a split of a folder."""
    if not root.is_dir():
        raise UserError(f"{root} is no folder: give the folder of images with depth images.")
    if ":" in splits.train or ":" in splits.test:
        return partial(_two_folders, root)
    if (root / "depths").is_dir():
        return lambda split: folder_pairs(root / "images" / split, root / "depths" / split)
    if any((root / "test").glob("*/sync_depth_*.png")):
        return partial(_frames, root)
    raise UserError(
        f"{root} has neither depths/SPLIT nor SPLIT/SCENE/sync_depth_*.png: let `tools/prepare_data.py nyu` write it, "
        "or give depths.train and depths.test as IMAGES:DEPTHS."
    )


def _two_folders(root: Path, split: str) -> Pairs:
    images, colon, depths = split.partition(":")
    if not colon:
        raise UserError(f"split '{split}' is not of the form IMAGES:DEPTHS: name two folders below {root}.")
    return folder_pairs(root / images, root / depths)


def _frames(root: Path, split: str) -> Pairs:
    """SPLIT/SCENE/rgb_N.* with sync_depth_N.png, as the field shares the split of 795 and 654 images."""
    found: dict[bool, dict[str, Path]] = {False: {}, True: {}}
    for path in sorted((root / split).glob("*/*_*.*")):
        if FRAME.match(path.name):
            place = f"{path.parent.name}/{FRAME.sub('', path.stem)}"
            found[path.name.startswith("sync_depth_")][place] = path
    images, depths = found[False], found[True]
    if lacking := sorted(set(images) ^ set(depths)):
        raise UserError(
            f"{root / split}: {len(lacking)} images lack the one of rgb and sync_depth, first {lacking[0]}."
        )
    if not images:
        raise UserError(f"{root / split} holds no SCENE/rgb_*.jpg: the split is empty.")
    return [(images[place], depths[place]) for place in sorted(images)]


def _check(pair: tuple[Path, Path], per_metre: float) -> None:
    """Decode a depth image once, and hold it against its image."""
    image, path = pair
    depth = depth_image(path, per_metre)
    if not (depth > 0).any():
        raise UserError(f"{path} has no depth above 0: mend it, or take it and its image out.")
    try:
        with Image.open(image) as seen:
            size = seen.size
    except Exception:  # Pillow's decoders raise many types; an image that cannot be read is told later
        return
    if size != depth.shape[::-1]:
        raise UserError(f"{path} is {depth.shape[::-1]}, but its image {image} is {size}: make them equal.")


def _source(root: Path, pairs: Pairs, part: str) -> ImageSource:
    paths = tuple(image for image, _ in pairs)
    about = f"{root}: {len(paths)} images of {part} with depth images"
    return ImageSource(root, paths, (0,) * len(paths), ("depth",), about=about, kind="depth")
