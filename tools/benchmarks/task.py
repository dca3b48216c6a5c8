"""What a task of the benchmark says of itself. No torch here."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from pretrain.runtime.options import Option


@dataclass(frozen=True)
class Task:
    """One thing that tools/benchmark.py can do.

    name: what is typed. help: one line. run: does it, with the options as attributes; it imports what it needs.
    root: whether a folder of images is given: "1" it must be, "?" it may be, "" there is none.
    """

    name: str
    help: str
    run: Callable[[argparse.Namespace], None]
    root: str = ""
    options: tuple[Option, ...] = ()
