"""Where a file of the repository is on the site, and links between pages, which lie elsewhere there."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from pretrain.runtime.repository import REPOSITORY

MOVED = {  # what is read at another place than in docs/
    "README.md": "index.md",
    "docs/README.md": "pages.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "configs/README.md": "configurations.md",
    "docs/examples/two_minutes.ipynb": "examples/two_minutes.md",
}
FILES = "files"  # folder of the site with copies of what pages link to beyond docs/
_LINK = re.compile(r"(\]\()([^)\s#:]+)(#[^)\s]*)?(\))")
_FENCE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)


def site_path(path: str) -> str:
    """A file's place on the site, from its place in the repository; both with slashes, none at the beginning."""
    if path in MOVED:
        return MOVED[path]
    return path.removeprefix("docs/") if path.startswith("docs/") else f"{FILES}/{path}"


def with_links(text: str, source: str, add_file: Callable[[str], None]) -> str:
    """A page's text with its links as they are on the site.

    Args:
        text: Markdown.
        source: the page's place in the repository.
        add_file: told the place of each linked file that is no page, which the site then needs.
    """

    def moved(match: re.Match[str]) -> str:
        """One link, to the page or the file that the site has in its place."""
        target = os.path.normpath(PurePosixPath(source).parent / match[2])
        if not Path(REPOSITORY, target).is_file():
            return match[0]  # which a strict build names
        place = site_path(target)
        if place.startswith(f"{FILES}/"):
            add_file(target)
        relative = os.path.relpath(place, PurePosixPath(site_path(source)).parent)
        return f"{match[1]}{relative}{match[3] or ''}{match[4]}"

    parts = _FENCE.split(text)
    return "".join(part if place % 2 else _LINK.sub(moved, part) for place, part in enumerate(parts))
