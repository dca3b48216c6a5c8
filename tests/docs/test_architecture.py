"""docs/architecture.md: the floors it draws hold for every import in the source, and every room is on one of them."""

from __future__ import annotations

import ast
import re

import pytest

from helpers.repository import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
FLOORS = {
    room: int(floor)
    for floor, rooms in re.findall(r"^\| (\d) \| ([^|]+) \|", PAGE, re.MULTILINE)
    for room in re.findall(r"`([\w.]+)`", rooms)
}
PACKAGES = ("pretrain", "transfer", "tools")


def room_of(module: str) -> str:
    """The room on a floor that a module lies in; "" for a package that only holds rooms."""
    parts = module.split(".")
    return next((name for end in (1, 2) if (name := ".".join(parts[:end])) in FLOORS), "")


SOURCES = {
    path.relative_to(ROOT).as_posix(): path
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
    if path.parent != ROOT / package or path.name != "__init__.py"
}


def test_every_module_is_on_a_floor_and_every_room_is_there():
    rooms = {room_of(name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")) for name in SOURCES}
    assert rooms == set(FLOORS)


@pytest.mark.parametrize("name", SOURCES)
def test_no_import_goes_up(name):
    here = FLOORS[room_of(name.removesuffix(".py").removesuffix("/__init__").replace("/", "."))]
    for node in ast.walk(ast.parse(SOURCES[name].read_text(encoding="utf-8"))):
        named = []
        if isinstance(node, ast.ImportFrom):
            named = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            named = [alias.name for alias in node.names]
        ours = [module for module in named if module.split(".")[0] in PACKAGES and room_of(module)]
        assert not [module for module in ours if FLOORS[room_of(module)] > here]
