"""The commands there are: every file of tools/ is one, by its name, and says in its first line what it does."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

from pretrain.runtime.repository import HOME

SHORT = {"detection": "train_detection"}  # a shorter name of a command: the file in tools/ that it means


@dataclass(frozen=True)
class Command:
    """A tool: the name that is typed, its file, and the first sentence of its docstring without its own example."""

    name: str
    file: Path
    about: str


def file_of(name: str) -> str:
    """The file in tools/, without .py, that a name means; it need not be there."""
    return SHORT.get(name, name.replace("-", "_"))


def commands() -> dict[str, Command]:
    """Every command by the shorter of its names. No tool is imported, so that this takes no time."""
    spelled = {file: name for name, file in SHORT.items()}
    found = {}
    for path in sorted((HOME / "tools").glob("[!_]*.py")):
        name = spelled.get(path.stem, path.stem)
        found[name] = Command(name, path, _about(path))
    return dict(sorted(found.items()))


def _about(path: Path) -> str:
    """What comes before the first example or full stop of the docstring."""
    words = " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split())
    return re.split(r": (?=`?python )|\. |: |, for | Usage", words)[0].rstrip(".:")
