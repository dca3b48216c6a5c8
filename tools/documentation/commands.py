"""A page a command, made of its parser: arguments, and every option of the configuration that its --help lists."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterator

from pretrain.runtime.options.help import default_of, listed_by, meaning
from tools.commands.listing import Command, commands
from tools.documentation.markdown import code, fenced, plain, rewrapped, table

FOLDER = "commands"  # of the site
BELOW = {"launch": {"pipeline": "tools.launcher.pipeline.run", "JOB": "tools.launcher.control"}}  # more parsers


def pages() -> dict[str, str]:
    """The text of each page by its place on the site; the first lists all of them."""
    known = commands()
    rows = [
        [f"[{name}]({name}.md)", code(f"python tools/{one.file.name}"), plain(one.about)] for name, one in known.items()
    ]
    first = [
        "# Commands\n",
        "Each command is a file in `tools/`, and `unigrad NAME` once the package is installed. These pages are made of",
        "the same declarations as `--help`.\n",
        table(("unigrad", "in a clone", "what it does"), rows),
    ]
    return {f"{FOLDER}/index.md": "\n".join(first)} | {f"{FOLDER}/{name}.md": _page(one) for name, one in known.items()}


def _page(command: Command) -> str:
    parser = importlib.import_module(f"tools.{command.file.stem}").parser()
    parts = [f"# unigrad {command.name}\n", f"In a clone: `python tools/{command.file.name}`.\n"]
    parts += [fenced(rewrapped(parser.description or "")), *_arguments(parser, 2)]
    for name, module in BELOW.get(command.name, {}).items():
        below = importlib.import_module(module).parser()
        heading: list[str] = (
            [] if name.isupper() else [f"## {command.name} {name}\n", fenced(rewrapped(below.description or ""))]
        )
        parts += [*heading, *_arguments(below, 3 if heading else 2)]
    for title, options in listed_by(parser).items():
        told = [[code(one.name), code(default_of(one)), plain(meaning(one))] for one in options]
        parts += [f"## {title.split(' (')[0]}\n", table(("option", "default", "meaning"), told)]
    return "\n".join(parts)


def _arguments(parser: argparse.ArgumentParser, level: int) -> Iterator[str]:
    """The arguments of a parser as a table, then those of each of its subcommands under a heading."""
    rows, below = [], dict[str, argparse.ArgumentParser]()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            below |= action.choices
        elif action.help != argparse.SUPPRESS:
            rows.append([code(_typed(action)), plain(_help(parser, action))])
    if rows:
        yield table(("argument", "meaning"), rows)
    if parser.epilog:
        yield fenced(parser.epilog)
    for name, sub in below.items():
        yield f"{'#' * level} {parser.prog.removesuffix('.py').split()[-1]} {name}\n"
        yield f"{plain(sub.description)}\n" if sub.description else ""
        yield from _arguments(sub, level + 1)


def _typed(action: argparse.Action) -> str:
    """How an argument is typed: -f, --follow; --rank R; RUN."""
    value = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    takes = "" if action.nargs == 0 else value
    return f"{', '.join(action.option_strings)} {takes}".strip() if action.option_strings else value


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    told = parser._get_formatter()._expand_help(action) if action.help else ""
    choices = f"one of {', '.join(map(str, action.choices))}" if action.choices else ""
    required = "required" if action.required and action.option_strings else ""
    return f"{told} ({'; '.join(filter(None, (choices, required)))})" if choices or required else told
