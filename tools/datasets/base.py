"""What a data set says of itself to `tools/prepare_data.py`, and options that are whole numbers in a range."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pretrain.runtime.errors import UserError


@dataclass(frozen=True)
class DataSet:
    """One data set that can be prepared.

    name: the word on the command line. help: one line. add_options: gives its parser its arguments.
    prepare: does it, from the parsed arguments; raises UserError in one sentence.
    """

    name: str
    help: str
    add_options: Callable[[argparse.ArgumentParser], None]
    prepare: Callable[[argparse.Namespace], None]


@dataclass(frozen=True)
class Number:
    """An option --NAME N. least, most: the range."""

    name: str
    default: int
    help: str
    least: int
    most: int = 100_000_000

    def range(self) -> str:
        """The range in words."""
        return f"{self.least} to {self.most:,}"


def add_numbers(parser: argparse.ArgumentParser, numbers: Sequence[Number]) -> None:
    """Add the options with meaning, range and default."""
    for one in numbers:
        told = f"{one.help}, {one.range()} (default {one.default})"
        parser.add_argument(f"--{one.name}", type=int, default=one.default, metavar="N", help=told)


def check_numbers(args: argparse.Namespace, numbers: Sequence[Number]) -> None:
    """Hold the options against their ranges.

    Raises:
        UserError: naming the first that is outside.
    """
    for one in numbers:
        value = getattr(args, one.name.replace("-", "_"))
        if value < one.least:
            raise UserError(f"--{one.name} {value} is below {one.least}: raise it.")
        if value > one.most:
            raise UserError(f"--{one.name} {value} is above {one.most:,}: lower it.")
