"""A source of the images of one archive or several: the names in the order of a walk over the same files unpacked."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pretrain.data.archives.cache import cache_folder, indexed
from pretrain.data.archives.index import UNKNOWN, Index, joined
from pretrain.data.archives.store import store_of
from pretrain.data.compact import Ints, Strings
from pretrain.data.files import File, at_once, opened, partly_kept
from pretrain.data.folders.classes import Layout, layout_of, numbered
from pretrain.data.folders.tree import tree_of
from pretrain.data.folders.walk import Tree
from pretrain.data.sources.base import Asked, ImageSource
from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import printable
from pretrain.runtime.urls import is_url, split

SHOWN = 6


class Archives(NamedTuple):
    """Archives that are one set. kind: "zip" or "tar". inside: the folder in them that is the set, "" for all."""

    kind: str
    files: Sequence[str]
    inside: str = ""


def archive_in(root: str, ending: str) -> Archives | None:
    """The archive that a root is, or that it leads into, as A.zip/train does; None for others.

    Of a URL, whose folders cannot be asked, it is the first part of the address that is called so.
    """
    if is_url(root):
        address, query = split(root)
        found = re.match(rf"(.*?://.*?{re.escape(ending)})(?:/(.*))?$", address, re.IGNORECASE | re.DOTALL)
        return Archives(ending[1:], [found[1] + query], (found[2] or "").strip("/")) if found else None
    path = Path(root)
    for place in (path, *path.parents):
        if place.suffix.lower() == ending and _is_file(place):
            inside = path.relative_to(place).as_posix()
            return Archives(ending[1:], [str(place)], "" if inside == "." else inside)
    return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # where this user may not look; told by who reads it
        return False


def open_archives(asked: Asked, archives: Archives, make: Callable[[File], Index]) -> ImageSource:
    """The images of some archives.

    Keys are the names of the members, after the archive's own name where two archives hold the same. The class is the
    `.cls` label of WebDataset where all images have one, else the folder, as for folders.

    Args:
        asked: what the user wants.
        archives: which.
        make: the index of one.

    Raises:
        UserError: an archive is damaged, there is no image, or what was said of the set does not fit it.
    """
    folder, files = cache_folder(asked.reading.index_cache), opened(archives.files, asked.reading.kept)
    parts = at_once(lambda file: indexed(file, archives.kind, make, folder), files)
    left_out, which, columns = joined(parts)
    names = _inside(asked.root, [name for part in parts for name in part.names], archives.inside)
    kept = np.asarray([place for place, name in enumerate(names) if name], np.int64)
    tree, order = tree_of(asked.path, [names[place] for place in kept], left_out)
    if not len(kept):
        raise UserError(f"{asked.root} holds no image{tree.omissions()}: give another.")
    places = kept[order]
    keys = (
        Strings.of(_qualified(files, which, names, places)) if len({*names}) < len(names) and len(files) > 1 else None
    )
    found = _layout(asked, tree, columns[places, 5])
    told = f"{archives.kind}{f', {len(files)} files' if len(files) > 1 else ''}"
    about = f"{printable(asked.root)}: {found.counts(len(tree.images))}, {told}{tree.omissions()}"
    about += partly_kept(files, asked.reading.kept)
    store = store_of(files, which, columns, archives.kind)
    return ImageSource(
        asked.path, tree.images, found.labels, found.classes, store, Ints(places), about, archives.kind, keys
    )


def _qualified(files: Sequence[File], which: np.ndarray, names: Sequence[str], places: np.ndarray) -> Iterator[str]:
    """The names at `places`, each after that of its archive, since several archives hold the same."""
    common = os.path.commonpath([file.path.parent for file in files])
    own = [file.path.relative_to(common).with_suffix("").as_posix() for file in files]
    return (f"{own[which[place]]}/{names[place]}" for place in places)


def _inside(root: str, names: list[str], inside: str) -> list[str]:
    """The names below the folder `inside`, and "" for those that are not.

    Raises:
        UserError: no image is below it.
    """
    if not inside:
        return names
    start = f"{inside}/"
    below = [name[len(start) :] if name.startswith(start) else "" for name in names]
    if not any(below):
        there = ", ".join(sorted({printable(name.partition("/")[0]) for name in names})[:SHOWN])
        raise UserError(f"{root} holds no image: the archive has no folder {inside} with images; it has {there}.")
    return below


def _layout(asked: Asked, tree: Tree, labels: np.ndarray) -> Layout:
    """Classes by WebDataset's labels (N,) where there are any, else by folders.

    Raises:
        UserError: labels are needed and some images have none; or as of layout_of.
    """
    given = labels != UNKNOWN
    if given.all():
        return numbered(labels.tolist())
    if given.any():
        without = int((~given).sum())
        if asked.labelled:
            first = tree.images[int(np.flatnonzero(~given)[0])].name
            lacks = f"{without} of {len(labels)} images, such as {first}"
            raise UserError(f"{asked.root} has no .cls label for {lacks}: add them.")
        return Layout(None, (), 1)
    return layout_of(tree, asked.class_depth, asked.labelled, asked.ask)
