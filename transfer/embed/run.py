"""From a checkpoint and a set of images to a file of features: checked first, resumable, shared by processes."""

from __future__ import annotations

import contextlib
import io
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from pretrain.data.sources import ImageSource, Reading, open_source
from pretrain.models import trunks as networks
from pretrain.models.pixels import Pixels
from pretrain.runtime import distributed
from pretrain.runtime.devices.device import choose_device
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import sha256_of, write_atomically
from pretrain.runtime.options import check, load
from pretrain.runtime.printable import say
from pretrain.runtime.processes.watch import Patience, deaths_told
from pretrain.runtime.urls import hide
from pretrain.weights import of_all_ranks
from pretrain.weights.hub.fetch import fetched
from pretrain.weights.hub.names import recorded
from pretrain.weights.read_trunk import read_trunk
from pretrain.weights.trunk import TrunkFile, build_trunk
from transfer.analysis.tsne import plot
from transfer.embed.formats import format_of, require
from transfer.embed.made import write_made
from transfer.embed.maps import Map, maps
from transfer.embed.table import Table
from transfer.features import cache
from transfer.features.on_device import chosen_precision
from transfer.features.pictures import resize_for
from transfer.features.rows import Features
from transfer.features.wanted import Wanted
from transfer.options import Common, check_common

WAIT = 24 * 60  # minutes that ranks wait for each other's features
FEWEST = 5  # images on a map


@dataclass(frozen=True)
class Request:
    """What is asked for.

    checkpoint: any file that `pretrain.weights` reads. root: of the images, of any kind of source. out: the file to
    write. branch: online or target, None for the one that the project itself evaluates. map: name of a map, None for
    none. most: images on it. overrides: options of the form key=value.
    """

    checkpoint: Path
    root: str
    out: Path
    branch: str | None = None
    map: str | None = None
    most: int = 5000
    overrides: Sequence[str] = ()


def embed(asked: Request) -> list[Path]:
    """Write the features; the files that were written, none on other ranks than the first.

    An interrupted call goes on where it stopped: until all features are there, they lie in a hidden folder beside
    `out`, or in cache=FOLDER, which stays.

    Raises:
        UserError: anything wrong with what is asked for, before the first image is read.
    """
    common = load(Common, None, asked.overrides)
    check(common)
    check_common(common)
    chosen = format_of(asked.out)
    if asked.map:
        require(maps()[asked.map].needs, f"maps by {asked.map}", "or choose another one of --map")
    work = _folders(asked.out)
    device = choose_device(common.device)
    if common.threads:
        torch.set_num_threads(common.threads)
    asked = replace(asked, root=hide(asked.root), checkpoint=fetched(asked.checkpoint))
    source = open_source(asked.root, common.data.class_depth, reading=Reading.of(common.data))
    trunk = read_trunk(asked.checkpoint, asked.branch)
    source = replace(source, bits=trunk.bits)
    if distributed.asked_rank() == 0:
        say(source.about)
    distributed.start(device, timeout_minutes=WAIT)
    of_all_ranks.check_same(recorded(asked.checkpoint), sha256_of(asked.checkpoint))
    with deaths_told(Patience(common.timeout_minutes, asked.root, "workers", "timeout_minutes")):
        features = _features(asked, common, source, trunk, device, Path(common.cache) if common.cache else work)
    distributed.barrier()
    written: list[Path] = []
    if distributed.rank() == 0:
        written = _write(asked, chosen.write, common.seed, source, features)
        with _disk_told(asked.out):
            written.append(write_made(asked.out, asked.checkpoint, asked.root, common, trunk, device))
    distributed.stop()
    if written and not common.cache:
        shutil.rmtree(work, ignore_errors=True)
    return written


def _folders(out: Path) -> Path:
    """Make the folder of `out`; where features lie until all are there.

    Raises:
        UserError: `out` is a folder, or cannot be made.
    """
    if out.is_dir():
        raise UserError(f"--out {out} is a folder: give the name of a file in it.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the folder of --out {out} cannot be made: {error}.") from error
    return out.with_name(f".{out.name}.features")


def _features(
    asked: Request, common: Common, source: ImageSource, trunk: TrunkFile, device: torch.device, folder: Path
) -> Features:
    with torch.device("meta"):
        width = networks.build_trunk(trunk.arch)[1]
    resize = resize_for(common.image_size, common.resize)
    precision = chosen_precision(common.frozen_precision, device)
    sha256 = sha256_of(asked.checkpoint) + (f":{asked.branch}" if asked.branch else "")
    transform, pixels = (common.image_size, resize), Pixels(*trunk.pixels)
    wanted = Wanted(sha256, source, width, *transform, precision, pixels, interpolation=common.interpolation)
    reading = (common.batch_size, common.workers, device, common.timeout_minutes)
    return cache.features(folder, wanted, partial(build_trunk, trunk), *reading)


def _write(
    asked: Request, write: Callable[[Path, Table], list[Path]], seed: int, source: ImageSource, features: Features
) -> list[Path]:
    classes = tuple(source.classes[label] if label >= 0 else "" for label in features.labels.tolist())
    places, pictures = None, []
    if asked.map:
        places, picture = _mapped(asked, maps()[asked.map], seed, source, features)
        pictures = [picture]
    table = Table(features.rows, features.names, classes, places)
    with _disk_told(asked.out):
        return [*write(asked.out, table), *pictures]


@contextlib.contextmanager
def _disk_told(out: Path) -> Iterator[None]:
    """A full disk in one sentence."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{out} cannot be written ({error.strerror or error}): make room there; the same command goes on from the "
            "features that are there."
        ) from error


def _mapped(asked: Request, chosen: Map, seed: int, source: ImageSource, features: Features) -> tuple[np.ndarray, Path]:
    """Places (n, 2) of evenly spaced images, NaN for the others, and the picture of them."""
    count = len(features.rows)
    if count < FEWEST:
        raise UserError(f"a map needs at least {FEWEST} images, and {asked.root} has {count}: leave --map out.")
    at = torch.tensor([place * count // min(asked.most, count) for place in range(min(asked.most, count))])
    say(f"map of {len(at)} of {count} images by {chosen.name}")
    places = np.full((count, 2), np.nan, np.float32)
    places[at.numpy()] = chosen.place(functional.normalize(features.rows[at], dim=1).numpy(), seed)
    labels = features.labels[at].clamp_min(0).tolist()
    figure, drawn = plot(places[at.numpy()], labels, source.classes or ("images",)), io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # of scripts that the font lacks: it draws boxes
        figure.savefig(drawn, format="png")
    path = asked.out.with_name(f"{asked.out.stem}-{chosen.name}.png")
    with _disk_told(path):
        return places, write_atomically(path, lambda draft: draft.write_bytes(drawn.getvalue()))
