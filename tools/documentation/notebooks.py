"""Notebooks of docs/ as pages of the site, with what their cells have shown, by nbconvert; no cell is run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from pretrain.runtime.repository import REPOSITORY
from tools.documentation import places

SHOWN = "what the cell above shows"  # in place of a picture, for who does not see it; nbconvert says its format


def pages() -> dict[str, str | bytes]:
    """Every notebook's page and its pictures, by their places on the site."""
    return dict(made for source in places.MOVED if source.endswith(".ipynb") for made in _page(source))


def _page(source: str) -> Iterator[tuple[str, str | bytes]]:
    from nbconvert import MarkdownExporter

    place = PurePosixPath(places.MOVED[source])
    named = {"unique_key": place.stem, "output_files_dir": place.stem}
    text, told = MarkdownExporter().from_filename(str(REPOSITORY / source), resources=named)
    title, _, rest = text.strip().partition("\n")
    name = PurePosixPath(source).name
    itself = f'[{name}]({name} "the file, for Jupyter")'  # a link with a title is left as it is by places.with_links
    shown = rest.replace("![png](", f"![{SHOWN}](")
    yield str(place), f"{title}\n\nThis page shows the notebook {itself} and what its cells gave.\n{shown}\n"
    for path, picture in told["outputs"].items():
        yield str(place.parent / path), picture
