"""Modules and public functions say what they do, and functions with many parameters say what each of them means."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.repository import ROOT

PACKAGES = ("pretrain", "transfer", "tools")
SHORT = 4  # a public function of more lines has a docstring
MANY = 4  # a public function of so many parameters names each of them
UNCLEAR = ("dear ones", "at hand", "whoever", "of whom", "nobody's", "bear out", "borne out", "lets go of")
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _public(tree: ast.Module) -> Iterator[FUNCTION]:
    """The public functions of a module and the public methods of its public classes."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    for node in (*tree.body, *(inner for owner in classes for inner in owner.body)):
        if isinstance(node, FUNCTION) and not node.name.startswith("_"):
            yield node


def _parameters(function: FUNCTION) -> list[str]:
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [argument.arg for argument in named if argument.arg not in ("self", "cls")]


def _explained(docstring: str) -> set[str]:
    """The parameters that the Args block of a docstring names, one at the start of a line, several with commas."""
    block = re.search(r"^Args:\n((?: +.*\n?|\n(?= ))+)", docstring, re.MULTILINE)
    entries = re.findall(r"^ {4}([\w*][\w*, ]*):", block[1] if block else "", re.MULTILINE)
    return {name.strip(" *") for entry in entries for name in entry.split(",")}


def missing(source: str) -> list[str]:
    """What the docstrings of one source lack, a sentence each."""
    tree = ast.parse(source)
    lacks = [] if ast.get_docstring(tree) else ["the module has no docstring"]
    for function in _public(tree):
        docstring = ast.get_docstring(function) or ""
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        if lines > SHORT and not docstring:
            lacks.append(f"{function.name} (line {function.lineno}) has no docstring")
        parameters = _parameters(function)
        silent = [name for name in parameters if name not in _explained(docstring)]
        if len(parameters) >= MANY and silent:
            lacks.append(f"Args of {function.name} (line {function.lineno}) does not name {', '.join(silent)}")
    return lacks


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_docstrings_are_there_and_explain_every_parameter_where_there_are_many(path):
    assert not missing(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_no_source_uses_wording_that_readers_stumble_over(path):
    text = " ".join(path.read_text(encoding="utf-8").lower().split())
    assert not [words for words in UNCLEAR if words in text]


def test_what_a_docstring_lacks_is_named():
    head = "def draw(self, a, b, *, c, d):\n"
    body = ["Draw.", "", "    Args:", "        a, b: rows.", "        c: one of", "            d: or e.", "    "]
    docstring = '    """' + "\n".join(body) + '"""\n'
    assert missing(head + docstring) == ["the module has no docstring", "Args of draw (line 1) does not name d"]
    long = "def run():\n" + "    pass\n" * 4
    assert missing(f'"""A module."""\n{long}') == ["run (line 2) has no docstring"]
    assert not missing(f'"""A module."""\nclass Inner:\n    pass\ndef _{long[4:]}')
