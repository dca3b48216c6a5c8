"""What all tasks do around their measuring: read the size, print the checks first, show each cost, write all of it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch

from tools.benchmarks import timing
from tools.benchmarks.measure.step import Size
from tools.benchmarks.reference import checks
from tools.benchmarks.reference.checks import Check

Result = TypeVar("Result")
NOT_ASKED = ("run", "root", "json", "threads", "device")  # of the command line, what the results do not repeat


def size_of(args: argparse.Namespace) -> Size:
    """What the command line says of the network and its views.

    Raises:
        UserError: it says what no run could have.
    """
    size = Size(**{name: value for name, value in vars(args).items() if name in Size.__annotations__})
    size.check()
    return size


def start(device: torch.device, results: Iterable[Check], args: argparse.Namespace, **more: Any) -> dict[str, Any]:
    """Print the environment, what was asked, and the checks as they come.

    Args:
        device: where the task runs.
        results: the checks without which no speed is shown.
        args: the command line.
        more: what else the environment says.

    Returns:
        the environment with the checks, for `finish`.

    Raises:
        SystemExit: a check failed.
    """
    torch.set_num_threads(getattr(args, "threads", 1))
    asked = {name: value for name, value in vars(args).items() if name not in NOT_ASKED}
    environment = timing.environment(device) | asked | more
    print("\n".join(f"{name}: {value}" for name, value in environment.items()))
    done = print_each(results, checks.line)
    if not all(check.passed for check in done):
        raise SystemExit("error: a check failed, so no speed is shown.")
    if "repeats" in args:
        print(f"median [quartiles] of {args.repeats} rounds in which all take turns")
    return environment | {"checks": [vars(check) for check in done]}


def print_each(results: Iterable[Result], line: Callable[[Result], str]) -> list[Result]:
    """Print each result's line as it comes; all of them."""
    done = []
    for result in results:
        print(line(result), flush=True)
        done.append(result)
    return done


def finish(args: argparse.Namespace, environment: dict[str, Any], costs: list[Any]) -> None:
    """Write everything to the file that --json names, if it names one."""
    if args.json is not None:
        timing.write(args.json, environment, costs)


def announce(sentence: str) -> None:
    """Say on stderr what is waited for."""
    print(sentence, file=sys.stderr, flush=True)
