"""Where the value of each option came from, for --dry-run: the command line, the site's file, or the launcher."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from tools.launcher.request import Request

COMMAND_LINE, DEFAULT = "command line", "default"
DECIDED = ("gpus", "tasks", "cpus", "name")  # by the launcher, where they are not given
LEFT_OUT = ("help", "dry_run", "follow", "site")  # options of the call itself


def origins(parser: argparse.ArgumentParser, by_source: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """By option, where its value comes from; of one that may be repeated, where each of its values does.

    Args: by_source: words of a command line, by what they are called; those of less weight first.
    """
    lists = {action.dest: isinstance(action.default, list) for action in parser._actions}
    found: dict[str, list[str]] = {name: [] if repeated else [DEFAULT] for name, repeated in lists.items()}
    for source, words in by_source.items():
        unset = argparse.Namespace(**{name: [] if repeated else None for name, repeated in lists.items()})
        given = vars(parser.parse_known_args(list(words), unset)[0])
        for name, repeated in lists.items():
            if repeated:
                found[name] += [source] * len(given[name])
            elif given[name] is not None:
                found[name] = [source]
    return found


def table(args: argparse.Namespace, request: Request) -> list[str]:
    """A line for each option that has a value, with where it came from.

    Args: args: of cli.split_arguments. request: what was decided where nothing was given.
    """
    lines = []
    for name, sources in args.came_from.items():
        values = getattr(args, name, None)
        if values is None and name in DECIDED:
            values = getattr(request, name)
        for value, origin in zip(values if isinstance(values, list) else [values], sources, strict=True):
            if name not in LEFT_OUT and value not in (None, False):
                lines.append((f"--{name.replace('_', '-')}={_spelled(name, value)}", origin))
    width = max((len(option) for option, _ in lines), default=0)
    return ["# options, and where each came from:", *(f"#   {option:<{width}}  {origin}" for option, origin in lines)]


def _spelled(name: str, value: Any) -> str:
    """As it would be typed."""
    if name != "time":
        return shlex.quote(str(value))
    days, rest = divmod(int(value), 1440)
    return "".join(f"{count}{unit}" for count, unit in ((days, "d"), (rest // 60, "h"), (rest % 60, "m")) if count)
