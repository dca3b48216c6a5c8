"""What the pages name is there: linked files, paths, modules and their names, options, tests."""

from __future__ import annotations

import importlib
import re
from dataclasses import fields, is_dataclass
from functools import cache

import pytest

from helpers import pages
from helpers.repository import ROOT
from pretrain import methods
from pretrain.config import Config

ELSEWHERE = ("CHANGELOG.md", "docs/extending.md")  # old names; files that a recipe adds
LINK = re.compile(r"(?:\]\(|src=\")([^)\s#\"]+)(?:#[^)]*)?[)\"]")
PATH = re.compile(r"`((?:pretrain|transfer|tools|configs|docs|tests|\.ci)/[\w./*+-]*)`")
MODULE = re.compile(r"`((?:pretrain|transfer)(?:\.\w+)+)(?:\(.*)?`")
SECTIONS = {field.name: field.default_factory() for field in fields(Config) if is_dataclass(field.default_factory)}
OPTION = re.compile(rf"`({'|'.join(SECTIONS)})\.(?!png|safetensors)(\w+)(?:=[^`]*)?`")  # views.png is a file
TEST = re.compile(r"`(test_\w+)(?:\[\w+\])?`")


def named(pattern: re.Pattern[str]) -> list[pytest.param]:
    """What a pattern finds in every page, a parameter a page that has any."""
    found = {path: sorted(set(pattern.findall(path.read_text(encoding="utf-8")))) for path in pages.PAGES}
    return [pytest.param(path, names, id=pages.name(path)) for path, names in found.items() if names]


@pytest.mark.parametrize(("path", "links"), named(LINK))
def test_every_linked_file_exists(path, links):
    assert not [link for link in links if "://" not in link and not (path.parent / link).exists()]


@pytest.mark.parametrize(("path", "paths"), [given for given in named(PATH) if given.id not in ELSEWHERE])
def test_every_path_exists(path, paths):
    assert not [found for found in paths if not [*ROOT.glob(found)]]


@pytest.mark.parametrize(("path", "modules"), [given for given in named(MODULE) if given.id not in ELSEWHERE])
def test_every_module_and_name_can_be_imported(path, modules):
    for module in modules:
        parent, _, name = module.rpartition(".")
        try:
            importlib.import_module(module)
        except ModuleNotFoundError:
            assert hasattr(importlib.import_module(parent), name), module


@pytest.mark.parametrize(("path", "options"), named(OPTION))
def test_every_option_of_pretraining_exists(path, options):
    known = {section: set(vars(given)) for section, given in SECTIONS.items()}
    known["method"] |= {key for row in methods.ROWS for key in methods.keywords(row)}  # each row's own
    assert not [f"{section}.{key}" for section, key in options if key not in known[section]]


@cache
def sources() -> str:
    """The source of all tests."""
    return "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize(("path", "names"), named(TEST))
def test_every_test_that_is_named_exists(path, names):
    assert not [name for name in names if f"def {name}(" not in sources()]
