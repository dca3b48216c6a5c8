"""Where this code lies: the only file that counts the folders above itself, and knows a clone from an installed wheel.

In a clone, and in the copy that the launcher makes for a job, the four folders lie beside each other. A wheel installs
the libraries pretrain/ and transfer/ beside each other too, but tools/ and configs/ inside a package `unigrad`, so that
no other project's `tools` meets ours. The command `unigrad` then stands for `python tools/`.
"""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]  # holds pretrain/ and transfer/
COMMAND = "unigrad"  # also the name of the distribution, and of the package in a wheel
INSTALLED = (REPOSITORY / COMMAND / "tools").is_dir()
HOME = REPOSITORY / COMMAND if INSTALLED else REPOSITORY  # holds tools/ and configs/
FOLDERS = {"pretrain": REPOSITORY, "transfer": REPOSITORY, "tools": HOME, "configs": HOME}  # and what holds each
CONFIGS = "configs"
BUILT = "built.json"  # in the package `unigrad` of a wheel: the commit that it was built from

_TOOL = re.compile(r"(?<![\w./-])(?:python )?tools/(\w+)\.py\b")


def within(path: Path) -> Path | None:
    """An absolute path as it is in a clone, such as configs/demo.yaml; None for one that is no part of this code."""
    for name, holder in FOLDERS.items():
        if path.is_relative_to(holder / name):
            return path.relative_to(holder)
    return None


def shipped(path: Path) -> Path:
    """A path that was typed; configs/... that is not in this folder is the one that came with the code."""
    own = HOME / path
    return own if path.parts[:1] == (CONFIGS,) and not path.exists() and own.exists() else path


def spoken(text: str) -> str:
    """A text that names commands, as they are typed here: of an installed wheel, `unigrad convert`."""
    return _TOOL.sub(rf"{COMMAND} \1", text) if INSTALLED else text
