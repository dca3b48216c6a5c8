"""The configurations that came with the code: what each is, by the comment at its head."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from pretrain.runtime.errors import UserError
from pretrain.runtime.repository import CONFIGS, HOME

FIELDS = ("Command", "Data", "Cost", "Expect", "Source", "Note")


def files(folder: Path = Path(CONFIGS)) -> list[Path]:
    """Every configuration below a folder such as configs/pretrain, sorted by its path.

    Raises:
        UserError: there is no such folder, or none in it.
    """
    inside = HOME / folder if folder.parts[:1] == (CONFIGS,) else HOME / CONFIGS / folder
    found = sorted(inside.rglob("*.yaml"), key=lambda path: path.relative_to(HOME).as_posix())
    if not found or ".." in folder.parts:
        raise UserError(f"there is no configuration below {folder}: `python tools/configurations.py` lists all.")
    return found


def header(path: Path) -> dict[str, str]:
    """What the comment at the head of a file says: {"What": ..., "Command": ..., ...}; a line a command.

    It says what the file is, then `Command:`, `Cost:`, `Expect:` and so on, each from the start of a line. A command
    that ends in a backslash continues in the next line.
    """
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    parts = re.split(rf"^({'|'.join(FIELDS)}): ", "What: " + "\n".join(lines), flags=re.MULTILINE)
    said = {"What": parts[0].removeprefix("What: ")} | dict(zip(parts[1::2], parts[2::2], strict=True))
    return {key: _joined(text) if key == "Command" else " ".join(text.split()) for key, text in said.items()}


def _joined(text: str) -> str:
    """Commands, each in a line of its own."""
    return "\n".join(" ".join(line.split()) for line in text.strip().replace("\\\n", " ").splitlines())


def listed(folder: Path) -> str:
    """A line a configuration: its path, and the first sentence of its header."""
    found = {path.relative_to(HOME).as_posix(): header(path)["What"] for path in files(folder)}
    width = 2 + max(map(len, found))
    return "\n".join(f"{name:{width}}{what.split('. ')[0]}" for name, what in found.items())


def copy(folder: Path, to: Path) -> int:
    """Copy them below `to`, with the folders they lie in; how many.

    Raises:
        UserError: one of them is there already.
    """
    targets = {path: to / path.relative_to(HOME) for path in files(folder)}
    if there := next((target for target in targets.values() if target.exists()), None):
        raise UserError(f"{there} is there already: give another --to, or remove it.")
    for path, target in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return len(targets)
