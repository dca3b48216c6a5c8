"""Which folder is the class of an image: sure from how the folders lie, said by the user, or asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pretrain.data.compact import Ints
from pretrain.data.folders.walk import Tree
from pretrain.runtime.errors import UserError
from pretrain.runtime.urls import spelled

Names = tuple[str, ...]  # of the folders between the root and an image


@dataclass(frozen=True)
class Layout:
    """labels: class index of each image, None without classes. classes: sorted. folders: that hold images."""

    labels: Ints | None
    classes: Names
    folders: int

    def counts(self, images: int) -> str:
        """The number of images and of classes in words."""
        found = f"{images} image{'s' * (images != 1)}"
        if self.classes:
            return f"{found} in {len(self.classes)} class{'es' * (len(self.classes) != 1)}"
        return f"{found} in {self.folders} folders, no classes" if self.folders > 1 else f"{found}, no classes"


def layout_of(tree: Tree, class_depth: int, labelled: bool, ask: str) -> Layout:
    """The classes of a tree's images.

    Args:
        tree: with at least one image.
        class_depth: how many folders below the root name the class; 0 where the user has not said it.
        labelled: whether labels are needed, so that a depth that is not sure is asked for.
        ask: how the user says a class depth, for messages.

    Raises:
        UserError: loose images beside folders of images; or a class depth that is not sure or does not fit.
    """
    within = [Path(folder).relative_to(tree.root).parts for folder in tree.images.folders]
    holders = sorted(set(within))
    if () in holders:
        if len(holders) > 1:
            raise _mixed(tree, within)
        if class_depth:
            raise UserError(f"{ask}{class_depth} does not fit {spelled(tree.root)}: its images lie in no folders.")
        return Layout(None, (), 1)
    depth = class_depth or _sure_depth(holders)
    if not depth:
        if labelled:
            raise _asks(tree.root, holders, ask)
        return Layout(None, (), len(holders))
    if shallow := next((holder for holder in holders if len(holder) < depth), None):
        raise UserError(
            f"{ask}{depth} does not fit {spelled(tree.root)}: {'/'.join(shallow)} holds images and lies "
            f"only {len(shallow)} deep; give its images a folder of their own, or another depth."
        )
    names = ["/".join(folders[:depth]) for folders in within]
    index = {name: place for place, name in enumerate(sorted(set(names)))}
    label_of = np.asarray([index[name] for name in names], np.int32)
    return Layout(Ints(label_of[tree.images.folder_of]), tuple(index), len(holders))


def numbered(labels: Sequence[int]) -> Layout:
    """Classes that a set only numbers: they are called by their numbers, and sorted by them."""
    values, places = np.unique(np.asarray(labels, np.int64), return_inverse=True)
    return Layout(Ints(places.reshape(-1).astype(np.int32)), tuple(map(str, values.tolist())), 1)


def named(labels: Sequence[str]) -> Layout:
    """Classes by what a list calls each image's; sorted as numbers where all of them are whole numbers."""
    if all(label.isdecimal() and label == str(int(label)) for label in set(labels)):
        return numbered([int(label) for label in labels])
    classes = sorted(set(labels))
    index = {name: place for place, name in enumerate(classes)}
    return Layout(Ints(np.asarray([index[label] for label in labels], np.int32)), tuple(classes), 1)


def _sure_depth(holders: Sequence[Names]) -> int:
    """The depth of the classes where the folders leave no doubt, else 0.

    The outermost folders that hold images are the classes where all of them lie directly below the root. Where each
    folder below the root holds its images in a single one, such as CLASS/images/, both readings are the same.
    """
    outermost = _outermost(holders)
    if all(len(holder) == 1 for holder in outermost):
        return 1
    return 1 if len({holder[0] for holder in outermost}) == len(outermost) else 0


def _outermost(holders: Sequence[Names]) -> list[Names]:
    """The holders that lie in no other one; `holders` are sorted, so each comes before those in it."""
    found: list[Names] = []
    for holder in holders:
        if not found or holder[: len(found[-1])] != found[-1]:
            found.append(holder)
    return found


def _mixed(tree: Tree, within: Sequence[Names]) -> UserError:
    loose = [image for image, folder in zip(tree.images, tree.images.folder_of, strict=True) if not within[folder]]
    folders = sorted({folders[0] for folders in within if folders})
    plural = len(folders) != 1
    return UserError(
        f"{spelled(tree.root)} mixes {len(loose)} loose image{'s' * (len(loose) != 1)} (such as "
        f"{loose[0].name}) with {len(folders)} folder{'s' * plural} of images (such as "
        f"{folders[0]}): move the loose ones into a class folder or away, or give a folder of one kind."
    )


def _asks(root: Path, holders: Sequence[Names], ask: str) -> UserError:
    """The sentence that asks for the depth, with what each answer would mean."""
    shallow, deep = min(holders, key=len), max(holders, key=len)
    where = f"{len(deep)} folders deep ({'/'.join(deep)})"
    if len(shallow) < len(deep):
        where = f"{len(shallow)} and {where[:-1]}, {'/'.join(shallow)})"
    readings = []
    for depth in range(1, len(shallow) + 1):
        count = len({holder[:depth] for holder in holders})
        name = "/".join(deep[:depth])
        readings.append(f"{ask}{depth} for {count} class{'es' * (count != 1)} such as {name}")
    return UserError(
        f"{root} holds images {where}, so it is not sure which folder is the class: add {', or '.join(readings)}."
    )
