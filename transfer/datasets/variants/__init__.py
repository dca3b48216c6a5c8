"""Test sets for a head of ImageNet, in the folders that their archives give. One file each, which offers VARIANT.

The images of all of them are one set; the folder that an image lies in says to which variant, to which group of it and
to which class it belongs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from pretrain.data.decode import endings
from pretrain.data.folders.walk import walk
from pretrain.data.sources import ImageSource
from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import printable
from pretrain.runtime.registry import collect
from transfer.datasets.labelled import Labelled
from transfer.datasets.variants.base import Variant


@cache
def variants() -> dict[str, Variant]:
    """All variants by name, in the order of reports."""
    entries: list[Variant] = collect(__name__, "VARIANT")
    return {entry.name: entry for entry in sorted(entries, key=lambda entry: entry.order)}


def variant_of(folder: str) -> Variant | None:
    """The variant whose archive gives a folder of that name; None for any other folder."""
    plain = folder.lower().replace("_", "-")
    return next((one for one in variants().values() if any(plain.startswith(name) for name in one.folders)), None)


def open_variants(root: Path, names: Sequence[str]) -> Labelled:
    """The images of the folder of a variant, or of all those in `root`; each class is a folder of images.

    Args: names, of the variants that are wanted; none means all that are there.

    Raises:
        UserError: no such folder, none of a variant, or one that was asked for is not there.
    """
    if not root.is_dir():
        raise UserError(
            f"{root} is no folder: give the folder of a variant of ImageNet, or the one that holds several."
        )
    own = variant_of(root.resolve().name)
    base, inside = (root.resolve().parent, [root.resolve()]) if own else (root, sorted(root.iterdir()))
    found = {path: one for path in inside if path.is_dir() and (one := variant_of(path.name)) is not None}
    kept = [path for path, one in found.items() if not names or one.name in names]
    absent = [name for name in names if name not in {one.name for one in found.values()}]
    if absent or not kept:
        usual = ", ".join(variants()[absent[0]].folders if absent else [one.folders[0] for one in variants().values()])
        lacks = f"no folder of the variant {absent[0]}" if absent else "no folder of a variant of ImageNet"
        raise UserError(f"{root} holds {lacks}: name it as its archive does ({usual}).")
    images = [image for path in kept for image in walk(path, endings()).images]
    if not images:
        raise UserError(f"{', '.join(map(str, kept))}: no image is there.")
    folders = [image.parent.relative_to(base).as_posix() for image in images]
    classes = tuple(sorted(set(folders)))
    place = {name: at for at, name in enumerate(classes)}
    about = f"{root}: {len(images)} images of {', '.join(dict.fromkeys(found[path].title for path in kept))}"
    source = ImageSource(
        base, tuple(images), tuple(place[name] for name in folders), classes, about=about, kind="variants"
    )
    return Labelled(printable(root.resolve().name), source, source)
