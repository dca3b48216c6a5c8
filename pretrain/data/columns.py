"""Which column of a table holds the images or their paths, and which the labels."""

from __future__ import annotations

from collections.abc import Sequence

from pretrain.data.sources.base import Asked
from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import shortened

IMAGES = ("image", "images", "path", "file", "filename", "file_name", "filepath", "image_path", "img", "jpg", "x")
LABELS = ("label", "labels", "class", "class_name", "category", "target", "targets", "fine_label", "y")
SHOWN = 12


def chosen(asked: Asked, name: str, columns: Sequence[str], known: Sequence[str]) -> str | None:
    """The column that an option names, else the only one of a known name; None where there is none.

    Args:
        asked: the set, with the options.
        name: of the option, image_column or label_column.
        columns: that there are.
        known: names that are guessed, in lower case.

    Raises:
        UserError: there is no such column, or several have a known name.
    """
    given = str(getattr(asked.reading, name))
    there = ", ".join(shortened(column) for column in columns[:SHOWN])
    if given:
        if given not in columns:
            raise UserError(f"{asked.root} has no column {given} ({asked.option(name)}{given}): it has {there}.")
        return given
    guessed = [column for column in columns if column.lower() in known]
    if len(guessed) > 1:
        raise UserError(f"{asked.root} has the columns {', '.join(guessed)}: say which with {asked.option(name)}NAME.")
    return guessed[0] if guessed else None


def image_column(asked: Asked, columns: Sequence[str]) -> str:
    """The column of images or paths; the only column where there is one.

    Raises:
        UserError: it is not sure which.
    """
    found = chosen(asked, "image_column", columns, IMAGES)
    if found is None and len(columns) == 1:
        return columns[0]
    if found is None:
        there = ", ".join(shortened(column) for column in columns[:SHOWN])
        raise UserError(
            f"{asked.root} has the columns {there or '(none)'}: say which holds the images with "
            f"{asked.option('image_column')}NAME."
        )
    return found


def no_labels(asked: Asked) -> UserError:
    """What to raise where labels are needed and a table has no column of them."""
    return UserError(
        f"{asked.root} has no column of labels: add one, or name it with {asked.option('label_column')}NAME."
    )
