"""What is missing from a data set on disk, or cut short, by name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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
            sentences.append(f"{folder}: {len(affected)} of {len(names)} {what} {words}: {first_names(affected)}")
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
    """(names in a list file, sentences): one on a file that is missing or has another number of lines."""
    if not path.is_file():
        return [], [f"{path} is missing"]
    names = [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return names, wrong_count(len(names), expected, f"{path} lists")


def names_in_json(path: Path, expected: int, key: str = "file_name") -> tuple[list[str], list[str]]:
    """(values of `key` of the images of a COCO JSON, sentences), as `listed_names`."""
    if not path.is_file():
        return [], [f"{path} is missing"]
    try:
        images = json.loads(path.read_text(encoding="utf-8"))["images"]
        names = [image[key] for image in images]
    except (ValueError, KeyError, TypeError) as error:
        return [], [f"{path} is damaged or cut short ({' '.join(str(error).split())})"]
    return names, wrong_count(len(names), expected, f"{path} lists images")
