"""The comments at the head of configs/**.yaml, and configs/README.md, which is made of them.

Usage: `python tests/helpers/config_headers.py` writes configs/README.md anew.

A header says what the file is, then `Command:`, `Cost:`, `Expect:` and so on, each from the start of a line. A command
that ends in a backslash continues in the next line.
"""

from __future__ import annotations

import re
from pathlib import Path

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
FIELDS = ("Command", "Data", "Cost", "Expect", "Source", "Note")
HEADING = "| file | command | published number |\n|---|---|---|"
INTRODUCTION = """# Configurations

Every configuration, with its command and the published number that it answers to. A dash means that no published number
belongs to it. The header of each file says what it costs and what was measured here. Most of the files were not run
here: there was neither a GPU nor ImageNet.

Names in capitals are folders and files of yours. `python tests/helpers/config_headers.py` makes this page of the
headers.
"""


def files() -> list[Path]:
    """Every configuration, sorted by its path."""
    return sorted(CONFIGS.rglob("*.yaml"), key=lambda path: path.relative_to(CONFIGS).as_posix())


def header(path: Path) -> dict[str, str]:
    """What the comment at the head of a file says: {"What": ..., "Command": ..., ...}; a line a command."""
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
