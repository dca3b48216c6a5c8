"""Which files a root means: one, a pattern such as train-{000000..000146}.tar, or what * and ? match."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator

from pretrain.data.files.fetch import matching
from pretrain.runtime.errors import UserError
from pretrain.runtime.urls import is_url, split

RANGE = re.compile(r"(\d+)\.\.(\d+)")
BRACES = re.compile(r"\{([^{}]*)\}")
MOST = 1_000_000  # files of a pattern


def is_pattern(root: str, ending: str) -> bool:
    """Whether a root is a pattern of files of that ending, in lower case, and no file itself."""
    name = split(root)[0]
    return name.lower().endswith(ending) and any(one in name for one in "{*?[") and not os.path.exists(root)


def files_of(root: str) -> list[str]:
    """The files of a pattern: those of braces in the order of their numbers or words, those of * and ? by name.

    Raises:
        UserError: one of a range is missing, the pattern matches none, or it is too long.
    """
    found: list[str] = []
    missing: list[str] = []
    for name in _expanded(root):
        matched = _matched(name)
        missing += [] if matched else [name]
        found += matched
    if missing:
        lacks = f"{len(missing)} files are missing" if found else "there is none"
        raise UserError(f"of the files that {root} names {lacks}, such as {missing[0]}: complete or correct them.")
    if len(set(found)) < len(found):
        twice = next(path for path in found if found.count(path) > 1)
        raise UserError(f"{root} names {twice} twice: correct the pattern.")
    return found


def _matched(name: str) -> list[str]:
    """The files that a name without braces means; one at a URL is looked for when it is opened."""
    if is_url(name):
        return matching(name) if glob.has_magic(split(name)[0]) else [name]
    return sorted(glob.glob(name)) if glob.has_magic(name) else [name] * os.path.exists(name)


def _expanded(text: str) -> Iterator[str]:
    """What a pattern's braces mean, in their order."""
    pending, made = [text], 0
    while pending:
        one = pending.pop()
        braces = next((match for match in BRACES.finditer(one) if _words(match[1]) is not None), None)
        if braces is None:
            yield one
            continue
        words = _words(braces[1]) or []
        made += len(words)
        if made > MOST:
            raise UserError(f"{text} means more than {MOST:,} files: correct the pattern.")
        pending += [f"{one[: braces.start()]}{word}{one[braces.end() :]}" for word in reversed(words)]


def _words(inside: str) -> list[str] | None:
    """The words of a brace, `00..12` or `a,b`; None for what is no brace pattern."""
    if numbers := RANGE.fullmatch(inside):
        first, last = (int(number) for number in numbers.groups())
        if abs(last - first) > MOST:
            return [""] * (MOST + 1)
        width = len(numbers[1])
        step = 1 if last >= first else -1
        return [f"{number:0{width}d}" for number in range(first, last + step, step)]
    return inside.split(",") if "," in inside else None
