"""docs/troubleshooting.md quotes what the program prints: every quotation stands in a message of the source."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from helpers.repository import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
HEADINGS = re.findall(r"^### (.+)$", PAGE, re.MULTILINE)
QUOTED = [quoted for heading in HEADINGS for quoted in re.findall(r'"([^"]+)"', heading)]
HOLE = "\x00"  # a name or a number in a message


@cache
def messages() -> str:
    """The texts of the source, a line each, with HOLE for what is put in."""
    found = set()
    for folder in ("pretrain", "transfer", "tools"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = (part.value if isinstance(part, ast.Constant) else HOLE for part in node.values)
                    found.add("".join(map(str, parts)).replace("\n", " "))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.add(node.value.replace("\n", " "))
    return "\n".join(found)


@pytest.mark.parametrize("quoted", QUOTED)
def test_what_is_quoted_is_what_the_program_prints(quoted: str) -> None:
    pieces = [re.escape(piece) for piece in quoted.split("...")]
    found = re.search(".*".join(pieces), messages()) is not None
    assert found, f"no message reads like {quoted!r}"


def test_words_in_the_brackets_of_a_checkpoint_that_cannot_be_read_are_printed() -> None:
    table = PAGE.split('### "cannot be read as a torch checkpoint"')[1].split("###")[0]
    cells = [cell for row in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE) for cell in re.findall(r"`(.+?)`", row)]
    others = {"Bad CRC-32", "truncated"}  # said by Python's zipfile and pickle
    for words in set(cells) - others:
        found = re.search(".*".join(map(re.escape, words.split("..."))), messages()) is not None
        assert found, words


def test_sections_are_sorted_by_what_is_seen() -> None:
    for section in PAGE.split("\n## ")[1:]:
        headings = re.findall(r"^### (.+)$", section, re.MULTILINE)
        plain = [heading for heading in headings if not heading.startswith('"')]
        quoted = [heading for heading in headings if heading.startswith('"')]
        assert headings == [*plain, *quoted], "what has no words to search for comes first"
        assert quoted == sorted(quoted, key=str.lower)
