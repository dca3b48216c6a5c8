"""Names that were written by somebody else, made paths that never leave a folder."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import shortened

LONGEST = 220  # bytes of one name in a path; file systems hold 255, of which the draft of a file takes some
DRIVE = re.compile(r"[A-Za-z]:")
DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])\s*(\..*)?", re.IGNORECASE)  # of Windows
ABROAD = "lies outside"


def path_inside(root: Path, name: object, where: object, links: bool = False) -> Path:
    """ROOT/NAME, where `name` stands in a file: the one way from a name in a file to a path.

    Args:
        root: the folder that is not left.
        name: a relative path with forward slashes.
        where: what holds the name, for the message.
        links: whether symbolic links below `root` may lead out of it. True suits reading, where the owner of the
            folder has set them; what is written through one would land elsewhere.

    Raises:
        UserError: the name is no text, is empty or absolute, climbs, has a drive letter, a backslash or a NUL byte, is
            longer than file systems take, means a device, or a link leads out of `root`.
    """
    fault = _fault(name)
    if fault:
        place = f" {root}" if fault == ABROAD else ""
        raise UserError(
            f"{where} holds the name '{shortened(name, LONGEST)}', which {fault}{place}: names must be paths below "
            "that folder, relative and with forward slashes."
        )
    path = root / PurePosixPath(str(name))
    if not links:
        _refuse_links_out(root, path, where)
    return path


def _fault(name: object) -> str:
    """Why a name is no path below a folder, in words that follow "which"; empty where it is one."""
    if not isinstance(name, str):
        return "is no text"
    forward = PurePosixPath(name.replace("\\", "/"))
    if forward.is_absolute() or ".." in forward.parts or DRIVE.match(name):
        return ABROAD
    if "\\" in name:
        return "holds a backslash"
    if "\0" in name:
        return "holds a NUL byte"
    if not forward.parts or name.endswith("/"):
        return "names no file"
    try:
        lengths = [len(os.fsencode(part)) for part in forward.parts]
    except UnicodeEncodeError:
        return "is not in the encoding of this system's file names"
    if max(lengths) > LONGEST or sum(lengths) > 8 * LONGEST:
        return "is longer than file systems take"
    if any(DEVICE.fullmatch(part) for part in forward.parts):
        return "means a device under Windows"
    return ""


def _refuse_links_out(root: Path, path: Path, where: object) -> None:
    """Raise UserError where a folder on the way from `root` to `path` is a link out of `root`."""
    real = os.path.realpath(root)
    for folder in (*path.parents, path):
        if folder == root or root not in folder.parents or not folder.is_symlink():
            continue
        if os.path.commonpath([real, os.path.realpath(folder)]) != real:
            raise UserError(
                f"{where} holds a name whose way leads through the link {folder}, out of {root}: remove the link, or "
                "give the folder that it leads to."
            )
