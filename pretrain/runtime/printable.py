"""Text from files and users, made safe to print on one line of a terminal."""

from __future__ import annotations

import sys
from typing import TextIO

LONGEST = 120  # characters of a name that are shown


def printable(text: str) -> str:
    """`text` with line ends, terminal codes, text directions and lone surrogates written as escapes."""
    return text if text.isprintable() else "".join(one if one.isprintable() else _escaped(one) for one in text)


def say(sentence: str, stream: TextIO | None = None) -> None:
    """Print one line at once; what is not printable, or what its stream cannot show, is written as escapes.

    A tool's own streams do so anyway (errors.py). Who calls a function of ours may have any stream.
    """
    stream = stream or sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    print(printable(sentence).encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


def shortened(value: object, limit: int = LONGEST) -> str:
    """A name from a file as it is shown to people: printable, and cut in the middle where it is long."""
    text = value if isinstance(value, str) else _plain(value)
    if len(text) > limit:
        text = f"{text[: limit // 2]}...{text[-limit // 4 :]}"
    return printable(text)


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # where Python keeps a byte that is not UTF-8: the byte itself is told
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def _plain(value: object) -> str:
    """Only plain values are written out: the text of any other could be without end."""
    small = isinstance(value, int) and abs(value) < 1 << 64
    return str(value) if small or isinstance(value, (bool, float)) or value is None else f"a {type(value).__name__}"
