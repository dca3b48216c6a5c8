"""Every command that a page or a configuration shows is one that its tool takes: the tool's own parser reads it.

Nothing is run: parsing ends the call. Options of the form key=value are filled into the tool's schema.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from helpers import config_headers, pages
from helpers.repository import ROOT
from pretrain.config import Config, load
from pretrain.runtime.errors import UserError
from tools.launcher import control
from tools.launcher.pipeline import spec
from transfer.evaluate import choose

COMMAND = re.compile(r"^(?:python |torchrun |make |pip |\S*/python |\w+=\S+ torchrun )")
PROCESSES = re.compile(r"^(?:python -m torch\.distributed\.run|torchrun) --nproc-per-node \d+ ")
RECIPES = "docs/extending.md"  # of which other tests run every command, in a copy that holds the files it adds
SUBCOMMANDS = {"detection": "train_detection"}


class Parsed(BaseException):
    """What a parser made of its arguments: options, and what it left over. No handler of a tool catches it."""

    def __init__(self, options: argparse.Namespace, left: list[str]) -> None:
        super().__init__(options, left)
        self.options, self.left = options, left


def shown(path: Path) -> list[str]:
    """The commands of a page: lines of its shell blocks, and code in its text that begins like one; no mere forms."""
    text = path.read_text(encoding="utf-8")
    lines = [line for block in pages.blocks(text, pages.SHELL) for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`([^`\n]+)`", pages.FENCE.sub("", text))
    return [" ".join(line.split()) for line in lines if COMMAND.match(line) and "..." not in line and " [" not in line]


def commands() -> list[pytest.param]:
    """Every command of every page and header, once."""
    found: dict[str, str] = {}
    for path in pages.PAGES:
        if pages.name(path) != RECIPES:
            found |= {command: pages.name(path) for command in shown(path)}
    for path in config_headers.files():
        said = config_headers.header(path).get("Command", "")
        found |= {command: path.relative_to(ROOT).as_posix() for command in said.splitlines()}
    return [pytest.param(command, id=f"{page}: {command[:80]}") for command, page in found.items()]


@pytest.fixture(autouse=True)
def parsing_ends_the_call(monkeypatch):
    """argparse raises Parsed where it would return to the tool; its calls of itself stay as they are."""
    depth = []

    def ending(method):
        def call(parser, *arguments, **options):
            depth.append(method)
            try:
                result = method(parser, *arguments, **options)
            finally:
                depth.pop()
            if depth:
                return result
            raise Parsed(*result) if isinstance(result, tuple) else Parsed(result, [])

        return call

    for name in ("parse_args", "parse_intermixed_args", "parse_known_args"):
        monkeypatch.setattr(argparse.ArgumentParser, name, ending(getattr(argparse.ArgumentParser, name)))
    monkeypatch.chdir(ROOT)


def check_tool(tool: str, words: list[str]) -> None:
    """Let a tool parse its arguments, then fill what has the form key=value into the tool's schema."""
    with pytest.raises(Parsed) as caught:
        importlib.import_module(f"tools.{tool}").main(words)
    options, left = caught.value.options, caught.value.left
    overrides = getattr(options, "overrides", [])
    if tool in ("pretrain", "scaling"):
        load(Config, options.config, overrides)
    elif tool == "compare":
        assert [*options.config.glob("*.yaml")] and (not options.setting or options.setting.is_file())
        load(Config, None, overrides)
    elif tool == "evaluate":
        for task in options.tasks.split(","):
            choose(task, options.config, overrides)
    elif tool == "train_detection":
        pytest.importorskip("detectron2")
        importlib.import_module("transfer.detection.config.load").load_config(options.config, overrides)
    elif tool == "launch" and words[0] == "pipeline":
        for stage in spec.read_pipeline(options.config, overrides, options.cluster)[1]:
            for command in stage.commands:
                check(command.words)
    elif tool == "launch" and words[0] not in control.COMMANDS:
        started = "pretrain" if words[0].startswith("-") or "=" in words[0] else words[0]
        after = words[words.index("--") + 1 :] if "--" in words else []
        given = [word.replace("{trial}", "0") for word in [*left, *after]]
        check_tool(SUBCOMMANDS.get(started, started), given)


def check(words: list[str] | tuple[str, ...]) -> None:
    """A command as words: a tool, a target of make, a test or module to run, packages to install."""
    program, *rest = words
    script = next((word for word in words if word.startswith("tools/") and word.endswith(".py")), "")
    if script:
        assert (ROOT / script).is_file()
        check_tool(Path(script).stem, list(words[words.index(script) + 1 :]))
    elif program == "make":
        targets = [word for word in rest if "=" not in word]
        assert all(re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE) for target in targets)
    elif program == "pip":
        extras = re.findall(r"\[(\w+)\]", " ".join(rest))
        assert rest[0] in ("install", "wheel")
        assert all(f'"{extra}": [' in (ROOT / "setup.py").read_text() for extra in extras)
        assert all((ROOT / given).is_file() for option, given in zip(rest, rest[1:], strict=False) if option == "-r")
    elif rest[0] == "-m":
        assert rest[1] == "pytest" or importlib.util.find_spec(rest[1])
        assert all((ROOT / word).exists() for word in rest[2:] if word.startswith("tests/"))
    else:
        assert (ROOT / rest[0]).is_file()


@pytest.mark.slow
@pytest.mark.parametrize("command", commands())
def test_the_tool_takes_the_command_as_it_stands(command):
    check(shlex.split(PROCESSES.sub("", re.sub(r"^\w+=\S+ ", "", command)), comments=True))


@pytest.mark.parametrize(
    "command",
    [
        "python tools/pretrain.py --config configs/pretrain/demo.yaml optim.epoch=3",
        "python tools/pretrain.py --config configs/pretrain/absent.yaml",
        "python tools/evaluate.py knn --checkpoint a.pth --data b --out c.json hed.epochs=2",
        "python tools/launch.py --nodes 8 data.rot=IMAGENET",
        "python tools/launch.py evaluate knn --checkpoint a.pth --data b --out c.json k=many",
        "python tools/report.py runs --papers --out report",
        "python tools/absent.py",
        "make absent",
    ],
)
def test_a_wrong_command_is_seen(command):
    with pytest.raises((AssertionError, UserError, SystemExit)):
        check(shlex.split(command))
