"""The code and configuration of a job as they were when it was submitted, in its run folder.

A job may wait for days and start several times. What is edited meanwhile must not change it, least of all half way.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from pretrain.runtime import provenance
from pretrain.runtime.files import drafted, write_json, write_text
from pretrain.runtime.repository import FOLDERS, shipped, within
from tools.launcher.request import Launch

BASE = "_BASE_:"  # in a configuration of detectron2, the one that it extends


def from_snapshot(launch: Launch) -> Launch:
    """`launch` as it will run: from RUN/code/HASH, with every --config that of the snapshot. Writes nothing."""
    from_outside = _extended(launch.commands, launch.folder, inside=False)
    outside = {path: path.read_text(encoding="utf-8") for path in from_outside}
    shown = {f"config{index or ''}.yaml": text for index, text in enumerate(launch.shown)}
    code = launch.run_dir / "code" / _fingerprint([*map(str, outside), *outside.values(), *shown.values()])
    given = shown | {f"given/{_label(path)}": _copied(path, code) for path in outside}
    tool = str(code / "tools" / Path(launch.commands[0][1]).name)
    commands = []
    for command, name in itertools.zip_longest(launch.commands, shown):
        arguments = list(command[2:])
        for place, prefix, path in _configs(command, launch.folder):
            arguments[place] = f"{prefix}{_moved(path, code)}"
        if name:  # resolved: no default and no override can change it any more
            arguments = ["--config", str(code / name)]
        commands.append((command[0], tool, *arguments))
    settings = settings_of(launch.commands, launch.folder, launch.shown)
    return dataclasses.replace(launch, commands=tuple(commands), code=code, given=given, settings=settings)


def settings_of(commands: Sequence[Sequence[str]], folder: str, shown: Sequence[str] = ()) -> str:
    """A hash of what was asked for: the arguments, and the text of every configuration among them."""
    texts = [path.read_text(encoding="utf-8") for path in _extended(commands, folder)]
    asked = [[command[2:] for command in commands], shown, texts]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:12]


def write_snapshot(launch: Launch) -> None:
    """Copy the code and write the configurations of a launch `from_snapshot`, unless they are there already."""
    code = launch.code
    if code.is_dir():
        return
    with drafted(code) as part:
        for path, source in _files():
            (part / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, part / path)
        for name, text in launch.given.items():
            write_text(part / name, text)
        write_json(part / provenance.SNAPSHOT, {"commit": provenance.commit(), "packages": _packages()})
        write_text(part / "uncommitted.diff", provenance.uncommitted())


def _files() -> Iterator[tuple[Path, Path]]:
    """The files of the code: each as a path in a clone, whose form a copy of a wheel gets too, and where it lies."""
    for top, holder in FOLDERS.items():
        for folder, folders, names in os.walk(holder / top):
            folders[:] = sorted(name for name in folders if not name.startswith((".", "__pycache__")))
            for name in sorted(names):
                if not name.endswith(".pyc"):
                    yield Path(folder, name).relative_to(holder), Path(folder, name)


def _fingerprint(texts: list[str]) -> str:
    digest = hashlib.sha256(json.dumps(texts).encode())
    for path, source in _files():
        digest.update(str(path).encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _configs(command: Sequence[str], folder: str) -> Iterator[tuple[int, str, Path]]:
    """(place among the arguments, what stands before it there, absolute path) of every --config that is a file."""
    arguments = command[2:]
    for place, word in enumerate(arguments):
        before = arguments[place - 1] if place else ""
        prefix = "--config=" if word.startswith("--config=") else ""
        path = Path(folder, shipped(Path(word.removeprefix(prefix)))).resolve()
        if (prefix or before == "--config") and path.is_file():
            yield place, prefix, path


def _extended(commands: Sequence[Sequence[str]], folder: str, inside: bool = True) -> list[Path]:
    """Every --config and those that they extend; without `inside`, only those that are no part of the code."""
    found: list[Path] = []
    waiting = [path for command in commands for _, _, path in _configs(command, folder)]
    while waiting:
        path = waiting.pop()
        if path in found or (within(path) and not inside):
            continue
        found.append(path)
        lines = path.read_text(encoding="utf-8").splitlines()
        waiting += [base for line in lines if (base := _base(line, path))]
    return found


def _base(line: str, path: Path) -> Path | None:
    """The configuration that the one at `path` extends, where `line` of it says so."""
    if not line.startswith(BASE):
        return None
    base = Path(path.parent, line.removeprefix(BASE).strip().strip("\"'")).resolve()
    return base if base.is_file() else None


def _moved(path: Path, code: Path) -> Path:
    """Where the snapshot holds the configuration at `path`."""
    own = within(path)
    return code / own if own else code / "given" / _label(path)


def _label(path: Path) -> str:
    """Its name, unlike that of another file of the same name."""
    return f"{hashlib.sha256(str(path).encode()).hexdigest()[:6]}-{path.name}"


def _copied(path: Path, code: Path) -> str:
    """The text of a configuration from outside, extending the snapshot's copy of what it extends."""
    lines = path.read_text(encoding="utf-8").splitlines()
    bases = [(line, _base(line, path)) for line in lines]
    return "".join(f'{BASE} "{_moved(base, code)}"\n' if base else f"{line}\n" for line, base in bases)


def _packages() -> dict[str, str]:
    """Versions of everything that is installed, by name."""
    return {each.name: each.version for each in sorted(metadata.distributions(), key=lambda each: each.name.lower())}
