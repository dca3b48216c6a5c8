"""Every command's --help: each argument says what it means and what it is by default."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from helpers.repository import ROOT

COMMANDS = sorted(path.stem for path in (ROOT / "tools").glob("*.py") if path.stem != "__init__")
OF_LAUNCH = [["--nodes", "1"], ["pipeline"], ["status", "RUN"]]  # each has a parser of its own

# Runs a command up to the point at which it would read its command line, and prints what it would then accept.
LIST = """
import argparse, json, os, runpy, sys

def arguments(parser, words=""):
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from arguments(below, f"{words}{name} ")
        else:
            name = action.option_strings[-1] if action.option_strings else str(action.metavar or action.dest)
            plain = isinstance(action.default, (str, int, float)) and not isinstance(action.default, bool)
            default = action.default if plain and action.default not in ("", argparse.SUPPRESS) else None
            yield {"name": words + name, "help": action.help, "default": default, "choices": bool(action.choices)}

def listed(parser, *_, **__):
    print("LISTED", json.dumps({"arguments": list(arguments(parser))}), flush=True)
    os._exit(0)

argparse.ArgumentParser.parse_known_args = argparse.ArgumentParser.parse_intermixed_args = listed
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def _listed(command: str, words: list[str]) -> dict[str, Any]:
    asked = [sys.executable, "-c", LIST, str(ROOT / "tools" / f"{command}.py"), *words]
    done = subprocess.run(asked, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    lines = [line for line in done.stdout.splitlines() if line.startswith("LISTED ")]
    assert lines, done.stdout + done.stderr
    return json.loads(lines[-1].removeprefix("LISTED "))


def _says(told: str, default: str | float) -> bool:
    """Whether a help names a default; options that are written as 3d are minutes behind."""
    spelled = f"{default:g}" if isinstance(default, float) else str(default)
    return spelled in told or "default" in told


@pytest.mark.parametrize(
    ("command", "words"),
    [(command, words) for command in COMMANDS for words in (OF_LAUNCH if command == "launch" else [["x"]])],
)
def test_every_argument_of_a_command_says_what_it_is(command: str, words: list[str]) -> None:
    listed = _listed(command, words)
    without = [one["name"] for one in listed["arguments"] if not one["help"]]
    assert without == []
    assert not [one["name"] for one in listed["arguments"] if "\n" in one["help"]], "a help is one line"
    silent = [
        one["name"]
        for one in listed["arguments"]
        if one["default"] is not None and not _says(one["help"], one["default"])
    ]
    assert silent == [], "the default is not told"


def test_a_range_is_told_by_every_number_of_the_launcher() -> None:
    """Those that the launcher refuses below a least value, which its own check knows."""
    helps = {one["name"]: one["help"] for one in _listed("launch", OF_LAUNCH[0])["arguments"]}
    for name in ("--nodes", "--tasks", "--cpus", "--gpus", "--retries", "--signal-delay", "--trials"):
        assert "at least" in helps[name] or "0 is" in helps[name], name
