"""NYUv2's labelled images with depth (Silberman et al., 2012): a MATLAB file and its split as folders of PNG.

ROOT/NYUv2/images/SPLIT/NNNN.png and depths/SPLIT/NNNN.png, in millimetres; SPLIT is train or test, of 795 and 654
images. The depths are those of the field `depths`, whose holes the authors have filled.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import write_atomically
from tools.datasets.unpacking.archives import Archive, check_digest, in_one_sentence
from tools.datasets.unpacking.benchmark import Benchmark, as_dataset
from tools.datasets.unpacking.completeness import missing_or_short, wrong_count
from transfer.datasets.depth import NYU

FOLDER, SPLITS, IMAGES = "NYUv2", "splits.mat", "nyu_depth_v2_labeled.mat"
FROM = "http://horatio.cs.nyu.edu/mit/silberman/"
INDICES = {"train": "trainNdxs", "test": "testNdxs"}  # of the split, counted from 1
LIBRARIES = {"h5py": "h5py", "scipy": "scipy"}
MILLIMETRES = 1000
DEEPEST = 65535  # that 16 bits hold


def archives() -> tuple[Archive, ...]:
    """The split, which must be there first, and the images; with the MD5 sums that public readers of them state."""
    return (
        Archive(SPLITS, "md5:08e3c3aea27130ac7c01ffd739a4535f", lambda _: None),
        Archive(IMAGES, "md5:520609c519fba3ba5ac58c8fefcc3530", lambda _: None),
    )


def unpack(archive: Archive, folder: Path, root: Path, verify: bool = True) -> None:
    """Keep the split, or write the images and the depths of both splits; files that are there stay.

    Args:
        archive: one of those above.
        folder: where it lies.
        root: the folder to fill.
        verify: hold it against its digest.

    Raises:
        UserError: a library or the split is not there, or a file is damaged or not the published one.
    """
    path, kept = folder / archive.name, root / FOLDER / SPLITS
    for module, package in LIBRARIES.items():
        if importlib.util.find_spec(module) is None:
            raise UserError(f"{path} needs {package} to be read: pip install {package}.")
    with in_one_sentence(path):
        if verify:
            check_digest(path, archive.digest)
        if archive.name == SPLITS:
            _indices(path)
            write_atomically(kept, partial(shutil.copyfile, path))
        elif not kept.is_file():
            raise UserError(f"{path} does not say its split: put {SPLITS} of {FROM}indoor_seg_sup/ into {folder}.")
        else:
            _write(path, _indices(kept), root / FOLDER)


def _indices(path: Path) -> dict[str, list[int]]:
    """Places of the images of each split, counted from 0.

    Raises:
        UserError: it is no such file.
    """
    from scipy.io import loadmat

    try:
        content = loadmat(path)
        return {part: (content[name].astype(int).ravel() - 1).tolist() for part, name in INDICES.items()}
    except Exception as error:  # scipy raises many types; each means the same to the user
        raise UserError(f"{path} is no MATLAB file with {' and '.join(INDICES.values())}: fetch it again.") from error


def _write(path: Path, indices: dict[str, list[int]], target: Path) -> None:
    """Write the images and depths of all splits that are not there yet."""
    with _fields(path) as (images, depths):
        for part, places in indices.items():
            if max(places, default=-1) >= len(images):
                raise UserError(f"{path} has {len(images)} images, but the split names number {max(places) + 1}.")
            for place in tqdm(places, f"{target.name} {part}", mininterval=10):
                picture = target / "images" / part / f"{place + 1:04}.png"
                depth = target / "depths" / part / f"{place + 1:04}.png"
                if not depth.is_file():
                    _write_png(picture, np.asarray(images[place]).transpose(2, 1, 0))
                    parts = np.rint(np.asarray(depths[place], np.float64).T * MILLIMETRES)
                    _write_png(depth, np.clip(parts, 0, DEEPEST).astype(np.uint16))


def _write_png(path: Path, pixels: np.ndarray) -> None:
    write_atomically(path, partial(Image.fromarray(np.ascontiguousarray(pixels)).save, format="PNG"))


@contextmanager
def _fields(path: Path) -> Iterator[tuple[Any, Any]]:
    """The images (n, 3, W, H) and depths (n, W, H) of the file, as HDF5 has MATLAB's columns.

    Raises:
        UserError: it is no HDF5 file, or lacks them.
    """
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise UserError(f"{path} cannot be read as MATLAB's HDF5 ({error}): fetch it again.") from error
    with file:
        shapes: list[tuple[int, ...]] = [file[name].shape if name in file else () for name in ("images", "depths")]
        if len(shapes[0]) != 4 or shapes[1] != (shapes[0][0], *shapes[0][2:]) or shapes[0][1] != 3:
            raise UserError(f"{path} has no images (n, 3, W, H) with depths (n, W, H): fetch {IMAGES} of {FROM}.")
        yield file["images"], file["depths"]


def faults(root: Path) -> list[str]:
    """What is missing or cut short, by name."""
    sentences = []
    for part, count in NYU.items():
        names = sorted(path.name for path in (root / FOLDER / "images" / part).glob("*.png"))
        sentences += wrong_count(len(names), count, f"{root / FOLDER / 'images' / part} holds images")
        for kind in ("images", "depths"):
            sentences += missing_or_short(root / FOLDER / kind / part, names, kind)
    where = f"{IMAGES} is at {FROM}nyu_depth_v2/ and {SPLITS} at {FROM}indoor_seg_sup/"
    return [*sentences, where] if sentences else []


BENCHMARK = Benchmark("nyu", archives, faults, unpack=unpack)
DATASET = as_dataset(BENCHMARK)
