"""The documentation site: built with warnings as errors, whole, and complete in what it is made of."""

from __future__ import annotations

import base64
import json
import logging
import warnings
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from helpers.repository import CONFIGS, ROOT
from pretrain.config import Config
from pretrain.runtime.options.rules import options
from tools.commands.listing import commands
from tools.documentation import api, markdown, places

NEEDED = ("mkdocs", "material", "mkdocstrings", "mkdocstrings_handlers.python", "nbconvert")


@pytest.fixture(scope="module")
def needed() -> None:
    """Skip where the site cannot be built."""
    for name in NEEDED:
        pytest.importorskip(name, reason="the site needs: pip install 'unigrad[docs]'")


def build(site: Path, **changes: object) -> None:
    """Build as `make docs` does; raises mkdocs' Abort at any warning."""
    from mkdocs.commands.build import build as build_site
    from mkdocs.config import load_config

    logging.getLogger("mkdocs").setLevel(logging.WARNING)  # which are counted
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of mkdocs' own age
        config = load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(site), **changes)
        config.plugins.on_startup(command="build", dirty=False)
        build_site(config)


class Page(HTMLParser):
    """What a page of the site refers to, what it loads by itself, its places, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links, self.loads, self.ids, self.words = set[str](), set[str](), {""}, list[str]()
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(self.words)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attributes}
        self.ids.add(said.get("id", ""))
        if tag == "a" and "href" in said:
            self.links.add(said["href"])
        if "src" in said or (tag == "link" and said.get("rel") in ("stylesheet", "icon")):
            self.loads.add(said.get("src") or said["href"])

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def site(needed: None, tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Page]:
    """Every page of the site by its file."""
    folder = tmp_path_factory.mktemp("site")
    build(folder)
    return {path: Page(path) for path in sorted(folder.rglob("*.html"))}


def home(site: dict[Path, Page]) -> Path:
    """The site's folder."""
    return min(site, key=lambda path: len(path.parts)).parent


@pytest.mark.slow
def test_every_link_of_every_page_leads_to_a_file_and_a_place_in_it(site: dict[Path, Page]) -> None:
    broken = []
    for path, page in site.items():
        for link in page.links | page.loads:
            file, _, place = unquote(link).partition("#")
            if ":" in file or path.name == "404.html":
                continue
            target = (path.parent / file).resolve() if file else path
            target = target / "index.html" if target.is_dir() else target
            known = target.is_file() and (target not in site or place in site[target].ids | {"__skip"})
            broken += [] if known else [f"{path.relative_to(home(site))}: {link}"]
    assert not broken and len(site) > 80


@pytest.mark.slow
def test_no_page_loads_anything_from_another_host(site: dict[Path, Page]) -> None:
    assert not {load for page in site.values() for load in page.loads if load.startswith(("http", "//"))}


@pytest.mark.slow
def test_commands_options_configurations_and_modules_are_all_there(site: dict[Path, Page]) -> None:
    folder = home(site)
    for name in commands():
        assert f"unigrad {name}" in site[folder / "commands" / name / "index.html"].text
    pretraining = site[folder / "commands" / "pretrain" / "index.html"].text
    assert not [one.name for one in options(Config) if one.name not in pretraining]
    configurations = site[folder / "configurations" / "index.html"].text
    assert not [
        path.stem for path in CONFIGS.rglob("*.yaml") if path.relative_to(ROOT).as_posix() not in configurations
    ]
    reference = {one for page in site.values() for one in page.ids}
    assert not [name for names in api.modules().values() for name in names if name not in reference]
    assert "pretrain.objective.objective" in reference and "transfer.results.save" in reference


@pytest.mark.slow
def test_the_notebook_is_a_page_in_its_place_with_all_that_its_cells_say_and_have_shown(site: dict[Path, Page]) -> None:
    place = home(site) / "examples" / "two_minutes"
    page = site[place / "index.html"]
    assert "two_minutes/" in site[home(site) / "examples" / "index.html"].links
    assert "Two minutes of pretraining on a CPU" in page.text and "../two_minutes.ipynb" in page.links
    source = ROOT / "docs" / "examples" / "two_minutes.ipynb"
    cells = [one for one in json.loads(source.read_text(encoding="utf-8"))["cells"] if one["cell_type"] == "code"]
    told = [one for cell in cells for one in cell["outputs"]]
    words = "".join(page.text.split())
    for part in [cell["source"] for cell in cells] + [one["text"] for one in told if one["output_type"] == "stream"]:
        assert "".join("".join(part).split()) in words
    pictures = [base64.b64decode(one["data"]["image/png"]) for one in told if "image/png" in one.get("data", {})]
    loaded = [(place / one).read_bytes() for one in page.loads if one.startswith("two_minutes_")]
    assert len(pictures) == 4 and sorted(pictures) == sorted(loaded)


@pytest.mark.parametrize("link", ["absent.md", "index.md#absent", "/absolute"])
def test_a_broken_link_fails(needed: None, tmp_path: Path, link: str) -> None:
    from mkdocs.exceptions import Abort

    page = tmp_path / "docs" / "index.md"
    page.parent.mkdir()
    alone: dict[str, object] = {name: [] for name in ("hooks", "plugins", "markdown_extensions")}
    alone |= {"docs_dir": str(page.parent), "nav": [{"A": "index.md"}]}
    page.write_text("# A page\n\n[itself](index.md#a-page)\n")
    build(tmp_path / "site", **alone)
    page.write_text(f"# A page\n\n[elsewhere]({link})\n")
    with pytest.raises(Abort):
        build(tmp_path / "site", **alone)


def test_a_public_name_without_a_docstring_is_named_unless_its_base_class_has_one() -> None:
    base = '"""A."""\nclass Base:\n    """B."""\n    def told(self):\n        """C."""\n'
    methods = "    def told(self): ...\n    def silent(self): ...\n"
    own = f'"""A."""\nclass Own(Base):\n{methods}def _own(): ...\ndef f(): ...\n'
    assert api.silent_in({"a": base, "b": own, "c": "x = 1"}) == ["b: Own", "b: Own.silent", "b: f", "c: the module"]
    assert not api.undocumented()


def test_links_lead_to_where_a_page_is_on_the_site() -> None:
    added: list[str] = []
    block = "```sh\n[a](docs/data.md)\n```\n"
    text = f"[a](docs/data.md#b) [c](configs/README.md) [d](LICENSE) [e](https://f.g) [h](absent)\n{block}"
    moved = places.with_links(text, "README.md", added.append)
    assert moved.startswith("[a](data.md#b) [c](configurations.md) [d](files/LICENSE) [e](https://f.g) [h](absent)\n")
    assert moved.endswith(block) and added == ["LICENSE"]
    assert places.with_links("[a](README.md)", "docs/data.md", added.append) == "[a](pages.md)"
    assert places.with_links("[a](../README.md)", "docs/data.md", added.append) == "[a](index.md)"


def test_a_help_text_is_shown_as_it_stands(needed: None) -> None:
    from markdown import markdown as rendered

    text = "a*b*c, _d_ [e](f) <g> `h|*i*` x|y {j} #1 C:\\k"
    line = markdown.table(("one",), [[markdown.plain(text)]])
    html = rendered(line, extensions=["tables"])
    shown = Page.__new__(Page)
    HTMLParser.__init__(shown)
    shown.links, shown.loads, shown.ids, shown.words = set(), set(), set(), []
    shown.feed(html)
    assert text.replace("`", "") in "".join(shown.words) and not shown.links
