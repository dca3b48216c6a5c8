"""The comments at the head of configs/**.yaml, and configs/README.md, which is made of them.

Usage: `python tests/helpers/config_headers.py` writes configs/README.md anew.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tools.commands.configurations import header

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
HEADING = "| file | command | published number |\n|---|---|---|"
INTRODUCTION = """# Configurations

Every configuration, with its command and the published number that it answers to. A dash means that no published number
belongs to it. The header of each file says what it costs and what was measured here. Most of the files were not run
here: there was no ImageNet.

Names in capitals are folders and files of yours. `python tests/helpers/config_headers.py` makes this page of the
headers.
"""


def files() -> list[Path]:
    """Every configuration, sorted by its path."""
    return sorted(CONFIGS.rglob("*.yaml"), key=lambda path: path.relative_to(CONFIGS).as_posix())


def published(said: dict[str, str]) -> str:
    """The published number of a header, with its source; a dash where there is none."""
    text = re.sub(r"\s*Not run here\.", "", said.get("Expect", "none"))
    return "—" if re.match(r"(no|none)\b", text) else text


def page() -> str:
    """configs/README.md: a table for every folder."""
    parts = [INTRODUCTION]
    for folder in sorted({path.parent for path in files()}):
        within = folder.relative_to(CONFIGS).as_posix()
        parts.append(
            f"## {'configs' if within == '.' else within}\n\n| file | command | published number |\n|---|---|---|"
        )
        parts += [_line(path, folder) for path in files() if path.parent == folder]
        parts.append("")
    return "\n".join(parts)


def _line(path: Path, folder: Path) -> str:
    said = header(path)
    commands = "<br>".join(f"`{line}`" for line in said.get("Command", "").splitlines()) or said["What"].split(":")[0]
    return f"| [{path.stem}]({path.relative_to(CONFIGS).as_posix()}) | {commands} | {published(said)} |"


if __name__ == "__main__":
    (CONFIGS / "README.md").write_text(page(), encoding="utf-8")
