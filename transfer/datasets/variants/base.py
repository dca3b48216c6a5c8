"""What a variant of ImageNet says of itself."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LISTS = Path(__file__).parent / "wnids"  # the identities of the WordNet in each set, sorted


@cache
def wnids(name: str) -> tuple[str, ...]:
    """The classes of imagenet, imagenet_a or imagenet_r: ImageNet's own in the order of their indices."""
    return tuple((LISTS / f"{name}.txt").read_text(encoding="ascii").split())


@dataclass(frozen=True)
class Place:
    """Where the images of one folder belong. group: of the numbers that are told. wnids: any of which is right."""

    group: str
    wnids: tuple[str, ...]


@dataclass(frozen=True)
class Variant:
    """One variant.

    name: as it is typed and as metrics have it. title: as people call it. folders: how the names of its folders begin,
    in lower case with hyphens. place: (its folder, the path of an image's folder in it) to where that belongs, None
    for a folder whose images do not count; raises UserError for one that is no class. among: the classes whose scores
    are compared; None compares all of the head's. images: as published. order: of reports.
    """

    name: str
    title: str
    folders: tuple[str, ...]
    place: Callable[[Path, str], Place | None]
    images: int
    among: Callable[[], Collection[str]] | None = None
    order: int = 100
