"""What the command lines of all tools have in common: how a path is read, and what is given once."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from pretrain.runtime.repository import COMMAND, shipped


def a_path(text: str) -> Path:
    """The path that a text names, `~` being the home folder, as in the options of a configuration."""
    return Path(expanded(text))


def a_config(text: str) -> Path:
    """The same of a configuration, or of a folder of them: those that came with the code are found from any folder."""
    return shipped(a_path(text))


def program(tool: str) -> str:
    """What a tool is called in its usage: the file, or the command `unigrad` with its name where that started it."""
    return sys.argv[0] if sys.argv[0].startswith(f"{COMMAND} ") else f"{tool}.py"


def expanded(text: str) -> str:
    """The same as a text, for a name that a tool fills in further."""
    if not text:
        raise argparse.ArgumentTypeError("it is empty: name a file or a folder")
    return os.path.expanduser(text)


class Once(argparse.Action):
    """Store a value; an option that is given twice is refused, since only one of the two could be read."""

    def __call__(self, parser: argparse.ArgumentParser, into: argparse.Namespace, value: Any, name: Any = None) -> None:
        """Store, and remember that it was given."""
        given = into.__dict__.setdefault("_given", set())
        if self.dest in given:
            parser.error(f"{name} is given twice: keep one of them.")
        given.add(self.dest)
        setattr(into, self.dest, value)
