"""The page of all configurations: the comment at the head of each, its command, and the file itself."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from pretrain.runtime.repository import CONFIGS, HOME
from tools.commands.configurations import files, header
from tools.documentation.markdown import fenced

PAGE = "configurations.md"
INTRODUCTION = """# Configurations

Every configuration, by its folder: what it is, its command, what it costs and the published number that it answers to.
Names in capitals are folders and files of yours. Most of the files were not run here: there was neither a GPU nor
ImageNet.
"""


def page() -> str:
    """A section a folder, a part a file."""
    parts = [INTRODUCTION]
    for folder, found in groupby(files(), key=lambda path: path.parent):
        parts += [f"## {folder.relative_to(HOME).as_posix()}\n", *map(_entry, found)]
    return "\n".join(parts)


def _entry(path: Path) -> str:
    said = header(path)
    name = path.relative_to(HOME / CONFIGS).with_suffix("").as_posix()
    parts = [f"### {name}\n", f"{said.pop('What')}\n"]
    if command := said.pop("Command", ""):
        parts.append(fenced(command, "sh"))
    parts += [f"- **{field}:** {text}" for field, text in said.items()]
    whole = "\n".join(f"    {line}".rstrip() for line in fenced(path.read_text(encoding="utf-8"), "yaml").splitlines())
    return "\n".join([*parts, f'\n??? note "{path.relative_to(HOME).as_posix()}"\n', whole, ""])
