"""The stages of a pipeline's YAML, read and checked.

A pipeline is `variables:` (plain values, which `variable=value` on the command line replaces; `out` is required) and
`stages:`, a list of
  name      of the stage, unique after expansion; its log is OUT/logs/NAME.log
  tool      a file in tools/, without .py
  args      its arguments, a list of strings, each split into words as a shell does
  for       optional: {variable: [values]}; the stage is run for every combination
  parallel  optional: how many of these run at the same time (default 1)
  after     optional: names of the stages that it needs (default: the one before it)
  nodes, tasks, gpus, cpus, retries, time, and what a scheduler adds (partition, mem and so on)
            optional: the job's, as tools/launch.py has them; more than one task goes through tools/launch.py
In name and args `${variable}` is replaced.
"""

from __future__ import annotations

import argparse
import difflib
import itertools
import os
import re
import reprlib
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pretrain.runtime.errors import UserError
from pretrain.runtime.options.text import NULLS, read_yaml
from pretrain.runtime.printable import shortened
from pretrain.runtime.repository import HOME, shipped
from tools.launcher import schedulers
from tools.launcher.gpus import gpus_argument
from tools.launcher.pipeline import processes
from tools.launcher.plan import TOOLS

FOLDER = HOME / "tools"
COUNTS = {"nodes": 1, "tasks": 1, "cpus": 1, "retries": 0}  # and their least values
OWN_OPTIONS = tuple(name for name, option in schedulers.own_options().items() if not option.repeatable)
TEXTS = ("time", *OWN_OPTIONS)
STAGE_KEYS = ("name", "tool", "args", "for", "parallel", "after", "gpus", *COUNTS, *TEXTS)


@dataclass(frozen=True)
class Stage:
    """One entry of `stages:`, expanded: commands that may run at the same time, `parallel` of them.

    after: names of the stages that it needs, as the YAML spells them.
    """

    name: str
    commands: tuple[processes.Command, ...]
    parallel: int
    tasks: int
    after: tuple[str, ...]


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, known := list(known), 1, 0)
    return f"did you mean '{near[0]}'?" if near else "there are none."


def _text(value: Any, where: str) -> str:
    """A plain value as it is spelled on a command line."""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    raise UserError(
        f"{where} is {type(value).__name__}: write one plain value (quote it where YAML reads more into it)."
    )


def substitute(text: str, variables: dict[str, str], where: str) -> str:
    """Replace every `${name}`; a name that is not among `variables` is a UserError."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in variables:
            raise UserError(f"{where}: there is no variable '{match[1]}'; {_nearest(match[1], variables)}")
        return variables[match[1]]

    return re.sub(r"\$\{([^}]*)\}", value, text)


def _section(written: Any) -> Any:
    """A mapping of the YAML; empty where nothing stands."""
    return {} if written is None or written in NULLS else written


def read_variables(tree: dict[str, Any], overrides: list[str], where: str) -> dict[str, str]:
    """`variables:` with the values from the command line; each may use the ones above it."""
    written = _section(tree.get("variables"))
    if not isinstance(written, dict):
        raise UserError(f"{where}: 'variables' has to be a mapping of names to plain values.")
    values = {str(name): _text(value, f"{where}: variable '{name}'") for name, value in written.items()}
    for override in overrides:
        name, equals, value = override.partition("=")
        if not equals:
            raise UserError(f"'{override}' is not of the form variable=value.")
        if name not in values:
            raise UserError(f"{where}: there is no variable '{name}'; {_nearest(name, values)}")
        values[name] = value
    known: dict[str, str] = {}
    for name, value in values.items():
        known[name] = substitute(value, known, f"{where}: variable '{name}'")
    known["out"] = os.path.expanduser(known.get("out", ""))
    if not known["out"]:
        raise UserError(f"{where}: 'variables' lacks 'out', the folder of everything that the pipeline writes.")
    return known


def read_stage(
    entry: Any,
    variables: dict[str, str],
    where: str,
    cluster: str,
    known: Sequence[str] = (),
    common: Mapping[str, str] = MappingProxyType({}),
) -> Stage:
    """One entry of `stages:` as commands, in the order of its `for`.

    Args:
        entry: as it was read from the YAML.
        variables: values of `variables:` by name.
        where: the file, for a sentence.
        cluster: name of the scheduler.
        known: names of the stages before it.
        common: the scheduler's own options, where the entry has none of its own.

    Raises:
        UserError: an unknown key, tool or variable, a value of the wrong kind, or a --config that is no file.
    """
    where = _check_keys(entry, where)
    tool, tools = shortened(entry.get("tool")), sorted(tool.file for tool in TOOLS.values())
    if tool not in tools:
        raise UserError(f"{where}: there is no tool '{tool}'; {_nearest(tool, tools)}")
    words = _words(entry.get("args", []), where)
    asked = _asked(entry, cluster, common, where)
    loops = _loops(entry.get("for"), variables, where)
    commands = []
    for values in itertools.product(*loops.values()):
        here = variables | dict(zip(loops, values, strict=True))
        name = substitute(entry["name"], here, where)
        if not re.fullmatch(r"[\w.+=-]+", name):
            raise UserError(f"{where}: its name '{name}' names a log file: use letters, digits and . _ + = - only.")
        arguments = [substitute(word, here, where) for word in words]
        _check_config(arguments, where)
        logs = Path(here["out"]) / "logs"
        command = _command(tool, arguments, asked, cluster, logs / "launch" / name)
        commands.append(processes.Command(name, command, logs / f"{name}.log"))
    parallel = min(_count(entry.get("parallel", 1), "parallel", where), len(commands))
    after = _after(entry.get("after", list(known[-1:])), known, where)
    return Stage(entry["name"], tuple(commands), parallel, int(asked.get("tasks", 1)), after)


def _check_keys(entry: Any, where: str) -> str:
    """Check that an entry is a stage with known keys; return its place in the file, for messages."""
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise UserError(
            f"{where}: each entry of 'stages' needs a 'name', and this has none: {reprlib.repr(entry):.80}."
        )
    where = f"{where}, stage '{entry['name']}'"
    for key in entry:
        if key not in STAGE_KEYS:
            raise UserError(f"{where}: there is no key '{key}'; {_nearest(str(key), STAGE_KEYS)}")
    return where


def _asked(entry: Mapping[str, Any], cluster: str, common: Mapping[str, str], where: str) -> dict[str, int | str]:
    """Options of the launcher for a stage, without those that its scheduler does not know."""
    counts: dict[str, int | str] = {key: _count(entry[key], key, where) for key in COUNTS if key in entry}
    if "gpus" in entry:
        counts["gpus"] = _gpus(entry["gpus"], where)
    texts = {key: _text(entry[key], f"{where}: '{key}'") for key in TEXTS if key in entry}
    about = schedulers.find_scheduler(cluster).about
    if about.here and int(counts.get("nodes", 1)) > 1:
        raise UserError(f"{where}: 'nodes: {counts['nodes']}' needs --cluster {schedulers.DEFAULT}; here use 'tasks'.")
    heeded = () if about.attended else ("time", *(option.name for option in about.options))
    return counts | {name: value for name, value in (dict(common) | texts).items() if name in heeded}


def _gpus(value: Any, where: str) -> str:
    """A number of GPUs, or TYPE:NUMBER, as the launcher takes it."""
    try:
        return str(gpus_argument(shortened(value)))
    except argparse.ArgumentTypeError as error:
        raise UserError(f"{where}: 'gpus' is {_shown(value)}: {error}.") from error


def _after(written: Any, known: Sequence[str], where: str) -> tuple[str, ...]:
    if not isinstance(written, list):
        raise UserError(f"{where}: 'after' has to be a list of the names of earlier stages.")
    for name in written:
        if name not in known:
            raise UserError(
                f"{where}: 'after' names '{shortened(name)}', no stage above it; {_nearest(shortened(name), known)}"
            )
    return tuple(written)


def _words(args: Any, where: str) -> list[str]:
    if not isinstance(args, list):
        raise UserError(f"{where}: 'args' has to be a list of strings, each split into words as a shell does.")
    return [word for argument in args for word in _split(_text(argument, f"{where}: an argument"), where)]


def _split(argument: str, where: str) -> list[str]:
    try:
        return shlex.split(argument)
    except ValueError as error:  # a quote or an escape without its end
        told = f"the argument '{shortened(argument)}' is no words of a shell ({str(error).lower()})"
        raise UserError(f"{where}: {told}: close its quotes.") from error


def _count(value: Any, key: str, where: str) -> int:
    least = COUNTS.get(key, 1)
    text = value if isinstance(value, str) else ""
    number = value if isinstance(value, int) else int(text) if re.fullmatch(r"\d{1,6}", text) else -1
    if number < least:
        raise UserError(f"{where}: '{key}' is {_shown(value)} and has to be a whole number from {least} up.")
    return number


def _shown(value: Any) -> str:
    return shortened(value) if isinstance(value, str) else f"{reprlib.repr(value):.80}"


def _loops(written: Any, variables: dict[str, str], where: str) -> dict[str, list[str]]:
    written = _section(written)
    if not isinstance(written, dict):
        raise UserError(f"{where}: 'for' has to map variables to lists, such as {{seed: [0, 1, 2]}}.")
    loops = {}
    for name, values in written.items():
        if name in variables:
            raise UserError(f"{where}: 'for' uses '{name}', which 'variables' defines already: rename one of them.")
        if not isinstance(values, list) or not values:
            raise UserError(f"{where}: 'for' needs a list of at least one value for '{name}'.")
        loops[str(name)] = [_text(value, f"{where}: a value of '{name}'") for value in values]
    return loops


def _check_config(arguments: list[str], where: str) -> None:
    for index, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        path = value if equals else "".join(arguments[index + 1 : index + 2])
        if option == "--config" and not shipped(Path(os.path.expanduser(path))).is_file():
            raise UserError(f"{where}: --config '{path}' is not a file (looked for in {Path.cwd()}).")


def _command(
    tool: str, arguments: list[str], asked: Mapping[str, int | str], cluster: str, run_dir: Path
) -> tuple[str, ...]:
    """The words of the command: the tool itself, or the launcher where the tool alone is not enough.

    Args:
        tool: a file in tools/, without .py.
        arguments: of the tool.
        asked: options of the launcher, by name.
        cluster: name of the scheduler. The launcher is needed for jobs that go on without it, for several tasks, and
            for chosen GPUs.
        run_dir: the job's folder, where the tool has none of its own.
    """
    python = sys.executable
    if Path(python).is_relative_to(Path.cwd()):
        python = os.path.relpath(python)  # shorter to read
    attended = schedulers.find_scheduler(cluster).about.attended
    if attended and asked.get("tasks", 1) == 1 and "gpus" not in asked:
        return (python, os.path.relpath(FOLDER / f"{tool}.py"), *arguments)
    subcommand = next(name for name, entry in TOOLS.items() if entry.file == tool)
    options = [f"--cluster={cluster}", "--follow", *(f"--{key}={value}" for key, value in asked.items())]
    if tool != "pretrain":  # whose run_dir is among its arguments
        options.append(f"--run-dir={run_dir}")
    return (python, os.path.relpath(FOLDER / "launch.py"), subcommand, *options, "--", *arguments)


def read_pipeline(
    path: Path, overrides: list[str], cluster: str, common: Mapping[str, str] = MappingProxyType({})
) -> tuple[Path, list[Stage]]:
    """The folder of all output, and all stages of the YAML at `path`, checked.

    Args:
        path: of the YAML.
        overrides: `variable=value` of the command line.
        cluster: name of the scheduler.
        common: the scheduler's own options, for every stage that has none of its own.

    Raises:
        UserError: any mistake that can be found before the first stage runs.
    """
    if not path.is_file():
        raise UserError(f"--config {path} is not a file: give a pipeline such as configs/demo.yaml.")
    tree = read_yaml(path)
    if not isinstance(tree.get("stages"), list) or not tree["stages"]:
        raise UserError(f"{path} has no list 'stages': it is no pipeline (see tools/launch.py pipeline --help).")
    for key in tree:
        if key not in ("variables", "stages"):
            raise UserError(f"{path}: there is no key '{key}'; {_nearest(str(key), ('variables', 'stages'))}")
    variables = read_variables(tree, overrides, str(path))
    stages: list[Stage] = []
    for entry in tree["stages"]:
        known = [stage.name for stage in stages]
        stages.append(read_stage(entry, variables, str(path), cluster, known, common))
    names = [command.name for stage in stages for command in stage.commands]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{path}: two commands are named '{name}': put the variables of 'for' into the name.")
    return Path(variables["out"]), stages


def without(stages: Sequence[Stage], names: Sequence[str]) -> list[Stage]:
    """The stages without those in `names`, whose output exists already; no other stage waits for them.

    Raises:
        UserError: there is no such stage, or none is left.
    """
    known = [stage.name for stage in stages]
    for name in names:
        if name not in known:
            raise UserError(f"--without {name}: there is no stage of this name; {_nearest(name, known)}")
    left = [stage for stage in stages if stage.name not in names]
    if not left:
        raise UserError("--without leaves no stage: leave out fewer.")
    kept = [tuple(name for name in stage.after if name not in names) for stage in left]
    return [replace(stage, after=after) for stage, after in zip(left, kept, strict=True)]
