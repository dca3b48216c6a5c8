"""Removing run folders: asked for, never of a run in progress, never of anything that is no run."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from pretrain.runtime.errors import UserError
from pretrain.runtime.lock import Held, exclusive
from tools.run_folders.find import find_runs, is_run
from tools.run_folders.overview import OPEN, Overview, overviews
from tools.run_folders.tables import size_text


def check(folders: Sequence[Path]) -> list[Overview]:
    """The runs that may be removed: all of `folders`, or none is.

    Raises:
        UserError: one is no run folder, a link, holds other runs, or is in progress.
    """
    found = []
    for folder in folders:
        if folder.is_symlink():
            raise UserError(f"{folder} is a link to {folder.resolve()}: name that folder, or remove the link.")
        if not folder.is_dir() or not is_run(folder):
            raise UserError(f"{folder} is no run folder, and is left as it is: name folders that `list` shows.")
        if inner := [run for run in find_runs([folder]) if run != folder.resolve()]:
            raise UserError(f"{folder} holds other runs ({inner[0]} and so on): remove those first, by their names.")
        (one,) = overviews([folder])
        if one.state in OPEN:
            raise UserError(
                f"{folder} is in progress ({one.state}{': ' if one.why else ''}{one.why}): cancel it first."
            )
        found.append(one)
    return found


def remove(found: Sequence[Overview], yes: bool) -> None:
    """Remove them after the answer yes, or with `yes` without a question.

    Raises:
        UserError: there is nobody to ask, or a run began meanwhile.
    """
    for one in found:
        print(f"{one.folder}: {one.state}, {size_text(one.bytes)}", flush=True)
    if not yes:
        if not sys.stdin.isatty():
            names = " ".join(shlex.quote(str(one.folder)) for one in found)
            raise UserError(f"nobody can be asked here, so nothing was removed: add --yes to remove {names}.")
        if input(f"remove {len(found)} run(s)? yes or no: ").strip().lower() not in ("y", "yes"):
            return print("nothing was removed")
    for one in found:
        try:
            with exclusive(one.folder / ".lock", lambda _: 0.0):
                shutil.rmtree(one.folder)
        except Held as held:
            raise UserError(f"{one.folder} is in progress since a moment ({held}): it was not removed.") from held
        print(f"removed {one.folder}", flush=True)
    return None
