"""What mkdocs calls while it builds the site (mkdocs.yml): pages made of the code, and links as they are there."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # mkdocs loads this file by its path

from pretrain.runtime.repository import REPOSITORY
from tools.commands import listing
from tools.documentation import api, commands, configurations, notebooks, places

log = logging.getLogger("mkdocs.hooks")  # whose warnings fail a strict build


def on_config(config: Any) -> Any:
    """Fill the parts of the navigation that the code decides, where mkdocs.yml has names of folders alone."""
    filled = {
        f"{commands.FOLDER}/": [{name: f"{commands.FOLDER}/{name}.md"} for name in listing.commands()],
        f"{api.FOLDER}/": [{package: f"{api.FOLDER}/{package}.md"} for package in api.modules()],
    }
    for section in config["nav"]:
        for entry in next(iter(section.values())):
            for title, below in entry.items() if isinstance(entry, dict) else ():
                if below in filled:
                    entry[title] = [f"{below}index.md", *filled[below]]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are not in docs/, and put its README.md where it is no home page."""
    from mkdocs.structure.files import File

    for file in [file for file in files if file.src_uri == "README.md"]:
        files.remove(file)
    made: dict[str, str | bytes] = {configurations.PAGE: configurations.page()}
    made |= notebooks.pages() | commands.pages() | api.pages()
    for source, place in places.MOVED.items():
        if place not in made:
            files.append(_from_repository(source, config))
    for place, content in made.items():
        files.append(File.generated(config, place, content=content))
    for name in api.undocumented():
        log.warning(f"{name} is public and has no docstring")
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links between pages, and to files beyond docs/, which are copied.

    Args:
        markdown, page, config, files: as mkdocs gives them, by these names.
    """
    source = next((source for source, place in places.MOVED.items() if place == page.file.src_uri), None)
    if source is None and page.file.generated_by:
        return markdown

    def add(path: str) -> None:
        if files.get_file_from_path(places.site_path(path)) is None:
            files.append(_from_repository(path, config))

    return places.with_links(markdown, source or f"docs/{page.file.src_uri}", add)


def _from_repository(path: str, config: Any) -> Any:
    from mkdocs.structure.files import File

    return File.generated(config, places.site_path(path), abs_src_path=str(REPOSITORY / path))
