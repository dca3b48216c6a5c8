"""`unigrad NAME arguments`: the tool of that name, exactly as `python tools/NAME.py arguments` is it."""

from __future__ import annotations

import difflib
import sys

from pretrain.runtime.errors import BAD_INPUT, UserError, run_tool
from pretrain.runtime.repository import COMMAND, spoken
from tools.commands.listing import Command, commands, file_of

USAGE = "usage: unigrad [--version] [--help] COMMAND [arguments]"


def main() -> None:
    """Find the tool that is named and become it."""
    words = sys.argv[1:]
    if not words:
        print(overview(), file=sys.stderr)
        sys.exit(BAD_INPUT)
    if words[0] in ("-h", "--help", "help"):
        run_tool(lambda: print(overview()))
    if words[0] in ("-V", "--version"):
        run_tool(_print_version)
    known = commands()
    named = {file_of(name): command for name, command in known.items()}
    command = named.get(file_of(words[0]))
    if command is None:
        run_tool(lambda: _refuse(words[0], list(known)))
    become(command, words[1:])


def overview() -> str:
    """What there is to start, a line a command."""
    known = commands()
    width = 2 + max(map(len, known))
    lines = [f"  {name:{width}}{command.about}" for name, command in known.items()]
    more = f"`{COMMAND} COMMAND --help` lists the options of one; each is also `python tools/COMMAND.py` in a clone."
    return "\n".join([USAGE, "", *lines, "", more])


def become(command: Command, arguments: list[str]) -> None:
    """Run the file of a command as the main program, with examples in its help as they are typed here."""
    sys.argv = [f"{COMMAND} {command.name}", *arguments]
    source = spoken(command.file.read_text(encoding="utf-8"))
    run = {"__name__": "__main__", "__file__": str(command.file), "__builtins__": __builtins__}
    exec(compile(source, str(command.file), "exec", dont_inherit=True), run)


def _print_version() -> None:
    from tools.commands.environment import version_line

    print(version_line())


def _refuse(word: str, known: list[str]) -> None:
    near = difflib.get_close_matches(word, known, 1, 0)[0]
    raise UserError(f"there is no command '{word}'; did you mean '{near}'? `{COMMAND} --help` lists them.")
