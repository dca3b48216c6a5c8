"""What features are written as: a file of this folder each, with FORMAT; a file that is added is one more."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pretrain.runtime.errors import UserError
from pretrain.runtime.registry import collect

if TYPE_CHECKING:
    from transfer.embed.table import Table


@dataclass(frozen=True)
class Format:
    """One of them.

    Args:
        ending: of its files.
        about: what it holds, in one line of --help.
        write: (path, table) writes the file whole or not at all, and returns what it wrote.
        needs: further libraries, by the module that is imported the name that pip installs.
    """

    ending: str
    about: str
    write: Callable[[Path, Table], list[Path]]
    needs: Mapping[str, str] = field(default_factory=dict)


@cache
def formats() -> dict[str, Format]:
    """All of them by their ending."""
    return {one.ending: one for one in collect(__name__, "FORMAT")}


def format_of(path: Path) -> Format:
    """The format of a file that is to be written, with its library there.

    Raises:
        UserError: no format has that ending, or its library is not installed.
    """
    if path.suffix not in formats():
        raise UserError(f"--out {path}: features are written as {' or '.join(formats())}; choose one of these endings.")
    chosen = formats()[path.suffix]
    require(chosen.needs, f"{chosen.ending} files", "or choose .npy")
    return chosen


def require(needs: Mapping[str, str], what: str, else_: str) -> None:
    """Refuse what needs a library that is not installed.

    Args: needs, pip's names by module; what, that needs them; else_, the other way out.

    Raises:
        UserError: one is not.
    """
    for module, package in needs.items():
        if importlib.util.find_spec(module) is None:
            raise UserError(f"{what} need {package}, which is not installed: pip install {package}, {else_}.")
