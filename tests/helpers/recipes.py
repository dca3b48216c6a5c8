"""The recipes of docs/extending.md: read from the page, written into a copy of the repository, and run there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from helpers import tool_process
from helpers.repository import ROOT

PAGE = ROOT / "docs" / "extending.md"
COPIED = ("pretrain", "transfer", "tools", "configs", "tests")
BLOCK = re.compile(r"^```\w*\n# file: (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def files_of(heading: str) -> dict[str, str]:
    """The new files of the recipe under `heading`, by their path in the repository."""
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return dict(BLOCK.findall(section))


def carry_out(heading: str, folder: Path) -> Path:
    """A copy of the repository below `folder` in which the recipe's files, none of which existed, are written."""
    copy = folder / "copy"
    for name in COPIED:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path, text in files_of(heading).items():
        assert not (copy / path).exists(), f"{path} is no addition: it is there already"
        (copy / path).write_text(text, encoding="utf-8")
    return copy


def run_in(copy: Path, *command: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """A command of this interpreter in the copy, which sees the copy's packages alone; its output as text.

    A script is run in a process that has torch already, and of our packages those of the copy.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(copy), str(copy / "tests")])}
    if command[0].endswith(".py"):
        words = [sys.executable, str(copy / command[0]), *command[1:]]
        return tool_process.run(words, environment, copy, timeout)
    return subprocess.run(
        [sys.executable, *command], cwd=copy, env=environment, capture_output=True, text=True, timeout=timeout
    )
