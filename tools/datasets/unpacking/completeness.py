"""What is missing from a data set on disk, or cut short, by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import read_json, read_lines
from pretrain.runtime.names import path_inside
from pretrain.runtime.printable import printable

TAIL = 4096  # bytes in which a picture's end marker stands; a few of ImageNet's carry something behind it
ENDS = (b"\xff\xd9", b"IEND")  # of JPEG and PNG
SHOWN = 5


def missing_or_short(folder: Path, names: Iterable[str], what: str) -> list[str]:
    """A sentence on the files of `names` that are not in `folder`, or that are there but end early; [] if all is well.

    Args: names, paths below `folder`. what: the kind of file, in the plural.
    """
    names = list(names)
    paths = [folder / name for name in names]
    with ThreadPoolExecutor() as pool:
        states = list(pool.map(file_state, paths))
    sentences = []
    for state, words in (("missing", "are missing"), ("short", "are cut short")):
        affected = [name for name, seen in zip(names, states, strict=True) if seen == state]
        if affected:
            shown = first_names([printable(name) for name in affected])
            sentences.append(f"{folder}: {len(affected)} of {len(names)} {what} {words}: {shown}")
    return sentences


def file_state(path: Path) -> str:
    """ "", "missing" or "short": a picture without its end marker, or an empty file."""
    if not path.is_file():
        return "missing"
    size = path.stat().st_size
    if path.suffix.lower() not in (".jpg", ".jpeg", ".png"):
        return "" if size else "short"
    with open(path, "rb") as handle:
        handle.seek(max(size - TAIL, 0))
        tail = handle.read()
    return "" if any(end in tail for end in ENDS) else "short"


def first_names(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + rest


def wrong_count(found: int, expected: int, what: str) -> list[str]:
    """A sentence where a count is not the published one."""
    return [] if found == expected else [f"{what}: {found:,} instead of {expected:,}"]


def listed_names(path: Path, expected: int) -> tuple[list[str], list[str]]:
    """(names in a list file, sentences): one on a file that is missing, unreadable or of another number of lines."""
    if not path.is_file():
        return [], [f"{path} is missing"]
    try:
        names = [line.split()[0] for line in read_lines(path, "a list of images") if line.strip()]
        return _inside(path, names), wrong_count(len(names), expected, f"{path} lists")
    except UserError as error:
        return [], [str(error).rstrip(".")]


def names_in_json(
    path: Path, expected: int, key: str = "file_name", parts: int | None = None
) -> tuple[list[str], list[str]]:
    """(names of the images of a COCO JSON, sentences), as `listed_names`.

    Args:
        path: the JSON.
        expected: the published number of images.
        key: of an image's entry.
        parts: how many of the last parts of an address are the name, None where all of the value is.
    """
    if not path.is_file():
        return [], [f"{path} is missing"]
    try:
        images = read_json(path, "a COCO JSON")["images"]
        values = [image[key] for image in images]
        names = values if parts is None else ["/".join(value.split("/")[-parts:]) for value in values]
        return _inside(path, names), wrong_count(len(names), expected, f"{path} lists images")
    except UserError as error:
        return [], [str(error).rstrip(".")]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return [], [f"{path} is damaged or cut short ({' '.join(str(error).split())})"]


def _inside(path: Path, names: Sequence[str]) -> list[str]:
    """The names, held against escapes from whatever folder they will be looked for in."""
    for name in names:
        path_inside(path.parent, name, path, links=True)
    return list(names)
