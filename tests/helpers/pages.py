"""The pages that people read, taken apart: prose as sentences, commands as typed, links and paths."""

from __future__ import annotations

import re
from pathlib import Path

from helpers.repository import ROOT

MADE = "docs/results.md"  # a report that a tool wrote
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "configs" / "README.md"],
    key=lambda path: path.relative_to(ROOT).as_posix(),
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHELL = ("sh", "bash")


def name(path: Path) -> str:
    """A page's path in the repository, which is also its test's name."""
    return path.relative_to(ROOT).as_posix()


def blocks(text: str, languages: tuple[str, ...]) -> list[str]:
    """The fenced blocks of a page in one of `languages`."""
    return [body for language, body in FENCE.findall(text) if language in languages]


def sentences(text: str) -> list[str]:
    """The sentences of a page's prose. Code blocks, tables, headings and indented formulas are no prose."""
    text = FENCE.sub("\n\n", text)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\[([^\]\s]*)\]\([^)]*\)|`[^`]*`", "CODE", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    found = []
    for paragraph in _paragraphs(text):
        found += re.split(r"(?<=[.?!])\**\s+(?=[A-Z\"'(*])", paragraph)
    return [sentence for sentence in found if words(sentence)]


def words(sentence: str) -> int:
    """Words of a sentence: what blanks part and holds a letter or a digit; a piece of code is one word."""
    return sum(bool(re.search(r"\w", word)) for word in sentence.split())


def _paragraphs(text: str) -> list[str]:
    """Running text; a list's item is a paragraph of its own."""
    found, current = [], []
    for line in [*text.splitlines(), ""]:
        item = re.match(r"\s*([-*]|\d+\.)\s+", line)
        outside = not line.strip() or line.startswith(("#", "|", "    ", "<"))
        if outside or item:
            found.append(" ".join(current))
            current = []
        if not outside:
            current.append(line[item.end() :] if item else line.strip())
    return [paragraph for paragraph in found if paragraph]
