"""The options of the benchmark's tasks, each written once, and the command line that is made of them. No torch here."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from pretrain.runtime.errors import UserError
from pretrain.runtime.options import Option, Rule
from pretrain.runtime.options.arguments import a_path
from pretrain.runtime.options.rules import LARGEST
from tools.benchmarks.task import Task

NUMBER, NUMBERS, TEXT = "int", "list[int]", "str"


def number(name: str, default: int | None, help: str, at_least: int = 1, unit: str = "") -> Option:
    """An option that is one whole number.

    Args:
        name: as it is typed.
        default: its value where it is not given; None means as many as there are.
        help: one line for --help.
        at_least: smallest value that is accepted.
        unit: of the number.
    """
    return Option(name, NUMBER, default, Rule(help, at_least=at_least, unit=unit))


def numbers(name: str, default: list[int] | None, help: str) -> Option:
    """An option that is one or more whole numbers of at least 1, separated by commas."""
    return Option(name, NUMBERS, default, Rule(help, at_least=1))


def text(name: str, default: str | None, help: str, choices: tuple[str, ...] = ()) -> Option:
    """An option that is a word; the command that uses it refuses words which are not among the choices.

    Args:
        name: as it is typed.
        default: its value where it is not given.
        help: one line for --help.
        choices: the words that are accepted; empty accepts any.
    """
    return Option(name, TEXT, default, Rule(help, choices=choices))


WIDTH = number("width", 2048, "C, channels of the rows")
SIZE = number("size", 64, "side of the global views", unit="pixels")
BATCH = number("batch", 32, "images a step")
IMAGES = number("images", 100, "images that take part")
LOCAL = (
    number("locals", 0, "local views an image", at_least=0),
    number("local_size", 96, "side of the local views", unit="pixels"),
)
NETWORK = (text("arch", "resnet18", "trunk, any ResNet of torchvision, such as resnet50"), SIZE, BATCH, WIDTH, *LOCAL)
ROUNDS = (number("repeats", 5, "rounds in which all contenders take turns"),)
THREADS = (number("threads", 1, "threads of the CPU"),)
DEVICE = text("device", "auto", "where to run", ("auto", "cpu", "cuda"))
MACHINE = (*THREADS, DEVICE)


def default(option: Option, value: Any) -> Option:
    """The same option with another default."""
    return replace(option, default=value)


def make_parser(description: str | None, tasks: Iterable[Task]) -> argparse.ArgumentParser:
    """The command line of all tasks."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="task", required=True, metavar="TASK")
    for task in tasks:
        added = commands.add_parser(task.name, help=task.help, description=task.help, allow_abbrev=False)
        added.set_defaults(run=task.run)
        if task.root:
            many = "?" if task.root == "?" else None
            added.add_argument(
                "root", type=a_path, nargs=many, metavar="ROOT", help="folder of images, or a packed set"
            )
        for option in task.options:
            added.add_argument(_flag(option), dest=option.name, default=_written(option.default), help=_help(option))
        added.add_argument("--json", type=a_path, metavar="FILE", help="also write everything to FILE (default: not)")
    return parser


def read_options(args: argparse.Namespace, task: Task) -> argparse.Namespace:
    """Texts of the command line to numbers, in place.

    Raises:
        UserError: what is no whole number or too small, or a folder where a file belongs.
    """
    for option in task.options:
        given = getattr(args, option.name)
        if given is not None and option.type != TEXT:
            setattr(args, option.name, _numbers(option, given))
    if args.json is not None and args.json.is_dir():
        raise UserError(f"--json {args.json} is a folder: give the name of a file in it.")
    return args


def _flag(option: Option) -> str:
    return f"--{option.name.replace('_', '-')}"


def _written(value: Any) -> str | None:
    """A default as it would be typed."""
    if value is None:
        return None
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _rule(option: Option) -> Rule:
    assert option.rule is not None, "every option here is made with one"
    return option.rule


def _help(option: Option) -> str:
    """Meaning, range and default in one line."""
    rule = _rule(option)
    choices = rule.choices() if callable(rule.choices) else rule.choices
    several = ", several separated by commas" if option.type == NUMBERS else ""
    allowed = f"one of {', '.join(map(str, choices))}" if choices else rule.range() + several
    shown = "all" if option.default is None else _written(option.default)
    return f"{rule.help} ({'; '.join(filter(None, (allowed, f'default: {shown}')))})"


def _numbers(option: Option, given: str) -> int | list[int]:
    flag, least, several = _flag(option), int(_rule(option).at_least or 0), option.type == NUMBERS
    try:
        values = [int(part) for part in given.split(",")]
    except ValueError:
        values = [-1]
    if min(values) < least or max(values) > LARGEST:
        such = "2 or 256,1024" if several else "2"
        raise UserError(f"{flag} {given} is not understood: give a whole number of at least {least}, such as {such}.")
    if several:
        return values
    if len(values) > 1:
        raise UserError(f"{flag} {given} is more than one number: give one.")
    return values[0]
