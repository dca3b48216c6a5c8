"""A list of image files: .txt with a path a line, or .csv and .tsv with columns of paths and labels.

Paths start from the list's own folder, or from images_root. A .txt whose every line ends in a whole number, as Caffe's
train.txt, has labels. A list without labels has the classes of its folders, where these are sure.
"""

from __future__ import annotations

import csv
import os
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from pretrain.data.columns import IMAGES, LABELS, chosen, image_column
from pretrain.data.compact import Ints
from pretrain.data.decode import endings
from pretrain.data.files import file_at
from pretrain.data.folders.classes import Layout, layout_of, named
from pretrain.data.folders.tree import tree_of
from pretrain.data.folders.walk import Tree, unreadable
from pretrain.data.sources.addresses import AddressStore, are_addresses, store_of
from pretrain.data.sources.base import Asked, ImageSource, Kind
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import lines_of, read_lines
from pretrain.runtime.printable import printable, shortened
from pretrain.runtime.urls import is_url, split

SEPARATORS = {".csv": ",", ".tsv": "\t"}
NUMBERED = re.compile(r"(.*\S)\s+(\d+)")  # a path and its label
WHAT = "a list of images"


def _takes(root: str) -> bool:
    return _ending(root) in (".txt", *SEPARATORS) and (is_url(root) or os.path.isfile(root))


def _ending(root: str) -> str:
    return os.path.splitext(split(root)[0])[1].lower()


def _open(asked: Asked) -> ImageSource:
    separator = SEPARATORS.get(_ending(asked.root))
    lines = [line for line in _read(asked) if line.strip()]
    if not lines:
        raise UserError(f"{asked.root} names no image: write a path a line.")
    names, labels = _table(asked, lines, separator) if separator else _lines(lines)
    return open_listed(asked, names, labels)


def _read(asked: Asked) -> list[str]:
    if not is_url(asked.root):
        return read_lines(asked.path, WHAT)
    with file_at(asked.root, asked.reading.kept).open() as file:
        return lines_of(file.read(), asked.root, WHAT)


def _lines(lines: Sequence[str]) -> tuple[list[str], list[str] | None]:
    """Paths, and labels where all lines have one."""
    found = [NUMBERED.fullmatch(line.strip()) for line in lines]
    if all(match and _is_image(match[1]) for match in found):
        return [match[1] for match in found if match], [match[2] for match in found if match]
    return [line.strip() for line in lines], None


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in endings()


def _table(asked: Asked, lines: Sequence[str], separator: str) -> tuple[list[str], list[str] | None]:
    """The columns of paths and labels; a first row whose first cell is an image's name is no heading.

    Raises:
        UserError: a row has another number of cells than the first, or the columns are not sure.
    """
    rows = list(csv.reader(lines, delimiter=separator))
    if wrong := next((number for number, row in enumerate(rows) if len(row) != len(rows[0])), 0):
        raise UserError(
            f"{asked.root} has {len(rows[wrong])} cells in row {wrong + 1} and {len(rows[0])} in the first: mend it."
        )
    if _is_image(rows[0][0]):
        head = [str(place) for place in range(len(rows[0]))]
        image = chosen(asked, "image_column", head, IMAGES) or head[0]
        label = chosen(asked, "label_column", head, LABELS) or (head[1] if len(head) > 1 and image == "0" else None)
    else:
        head, rows = rows[0], rows[1:]
        image, label = image_column(asked, head), chosen(asked, "label_column", head, LABELS)
    names = [row[head.index(image)].strip() for row in rows]
    return names, None if label is None else [row[head.index(label)].strip() for row in rows]


def open_listed(asked: Asked, names: Sequence[str], labels: Sequence[str] | None) -> ImageSource:
    """The images whose paths a list holds.

    Args: names (N,), as they are written. labels (N,), what the list calls the class of each; None where it does not.

    Raises:
        UserError: none is listed, one is listed twice or is not there, or the classes of their folders are not sure
            and are needed.
    """
    if not names or "" in names:
        raise UserError(f"{asked.root} has {'an empty path' if names else 'no rows'}: name an image in each row.")
    store: AddressStore | None = None
    if are_addresses(asked, names):
        store, keys = store_of(asked, names)
        root = Path(split(str(store.folder.address))[0])
    else:
        root, keys = _below_one(Path(asked.reading.images_root or asked.path.parent), names)
    _check_once(asked, keys)
    if store is None:
        _check(asked, root, keys)
    tree, order = tree_of(root, keys, Counter())
    found = _folders(asked, tree) if labels is None else named([labels[place] for place in order])
    about = f"{printable(asked.root)}: {found.counts(len(keys))}, listed"
    places = Ints(order) if store else None
    return ImageSource(root, tree.images, found.labels, found.classes, store, places, about, "list")


def _below_one(root: Path, names: Sequence[str]) -> tuple[Path, list[str]]:
    """A folder that all listed files are below, and their paths from there: `root`, or the deepest that they share."""
    base = os.path.abspath(root)
    paths = [os.path.normpath(os.path.join(base, os.path.expanduser(name))) for name in names]
    start = base.rstrip(os.sep) + os.sep
    if all(path.startswith(start) for path in paths):
        return root, [path[len(start) :] for path in paths]
    shared = os.path.commonpath({os.path.dirname(path) for path in paths})
    return Path(shared), [os.path.relpath(path, shared) for path in paths]


def _folders(asked: Asked, tree: Tree) -> Layout:
    """The classes by folders; none where some images lie loose and no labels are needed."""
    mixed = len(tree.images.folders) > 1 and os.fspath(tree.root) in tree.images.folders
    if mixed and not asked.labelled and not asked.class_depth:
        return Layout(None, (), len(tree.images.folders))
    return layout_of(tree, asked.class_depth, asked.labelled, asked.ask)


def _check_once(asked: Asked, keys: Sequence[str]) -> None:
    if len(set(keys)) < len(keys):
        twice = next(key for key, count in Counter(keys).items() if count > 1)
        raise UserError(f"{asked.root} names {shortened(twice)} twice: keep one of the two lines.")


def _check(asked: Asked, root: Path, keys: Sequence[str]) -> None:
    """Hold that every image is there; each folder is read once, no file is looked at.

    Raises:
        UserError: naming the first that is not.
    """
    folders: dict[str, set[str]] = defaultdict(set)
    for key in keys:
        folder, _, name = key.rpartition("/")
        folders[folder].add(name)
    absent = [
        os.path.join(folder, name) for folder in sorted(folders) for name in _absent(root / folder, folders[folder])
    ]
    if absent:
        raise UserError(
            f"{asked.root} names {len(keys)} images, of which {len(absent)} are not there, such as "
            f"{shortened(str(root / absent[0]), 200)}: complete them, or say where the paths start with "
            f"{asked.option('images_root')}FOLDER."
        )


def _absent(folder: Path, names: set[str]) -> list[str]:
    try:
        return sorted(names.difference(os.listdir(folder)))
    except (FileNotFoundError, NotADirectoryError):
        return sorted(names)
    except OSError as error:
        raise unreadable(folder, error) from error


KIND = Kind(
    "list",
    "a list of image files (.txt, .csv, .tsv)",
    _takes,
    _open,
    ("{}.csv", "{}.tsv", "{}.txt"),
    columns=lambda root: _ending(root) in SEPARATORS,
)
