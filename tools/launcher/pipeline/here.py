"""A pipeline that runs on this machine, as its folder tells of it: OUT/pipeline.json, a lock, logs and marks.

The lock is held as long as the pipeline goes on, so nothing has to be believed that a killed process left behind.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pretrain.engine.monitor import metrics_file
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import read_json, write_json
from pretrain.runtime.lock import Held, Holder, exclusive, holder_of
from tools.launcher.pipeline.processes import Command
from tools.launcher.worker.logs import last_words

LOCK = ".pipeline.lock"
LONGEST_END = 150.0  # seconds that `cancel` waits


@contextlib.contextmanager
def telling(out: Path, file: str, argv: Sequence[str], marks: Mapping[Command, tuple[Path, str]]) -> Iterator[None]:
    """Write what is to be done, and hold the lock while it is.

    Args:
        out: the folder of the pipeline.
        file: name of what is written.
        argv: the command line, which `resume` repeats.
        marks: all commands, with the file that says that one ended well and what it then holds.

    Raises:
        UserError: another process runs a pipeline in this folder.
    """
    written = {
        "command": list(argv),
        "folder": os.getcwd(),
        "started": time.time(),
        "here": [
            {"name": command.name, "log": str(command.log), "settings": settings, "run_dir": _run_dir(command.words)}
            for command, (_, settings) in marks.items()
        ],
    }
    try:
        with exclusive(out / LOCK, lambda _: 0.0):
            write_json(out / file, written)
            yield
    except Held as held:
        where = f"{held.holder.host}, process {held.holder.pid}"
        raise UserError(
            f"a pipeline runs in {out} already ({where}): wait for it, end it with "
            f"`python tools/launch.py cancel {shlex.quote(str(out))}`, or choose out=DIR."
        ) from held


def _run_dir(words: Sequence[str]) -> str | None:
    """Where the command pretrains, absolute; None for all others."""
    named = [word.removeprefix("run_dir=") for word in words if word.startswith("run_dir=")]
    return str(Path(named[-1]).resolve()) if named else None


def read(out: Path, file: str) -> dict[str, Any] | None:
    """What `telling` wrote, or the same of a folder that earlier code ran in; None where no pipeline ran here.

    Raises:
        UserError: the file is damaged.
    """
    path = out.resolve() / file
    if not path.is_file():
        logs = sorted((out.resolve() / "logs").glob("*.log"))
        marked = any(log.with_suffix(".done").is_file() for log in logs)
        return {"here": [{"name": log.stem, "log": str(log)} for log in logs]} if marked else None
    written = read_json(path, "a pipeline's list")
    if not isinstance(written, dict) or "here" not in written:
        return None
    try:
        [(str(one["name"]), str(one["log"])) for one in written["here"]]
    except (KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: start the pipeline again, which does only what is left.") from error
    return written


def holder(out: Path) -> Holder | None:
    """The process that runs the pipeline now."""
    return holder_of(out.resolve() / LOCK)


def report(out: Path, written: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """By command: state, why, log, and where it pretrains the step. What is not known is None."""
    alive, told = holder(out) is not None, {}
    for one in written["here"]:
        log = out.resolve() / "logs" / Path(one["log"]).name  # where it lies now
        state = _state(log, one.get("settings"), written.get("started", 0.0), alive)
        line = metrics_file.last_line(Path(one["run_dir"])) if one.get("run_dir") else None
        shown = state in ("running", "failed")
        told[str(one["name"])] = {
            "state": state,
            "why": (last_words(log) or None) if shown else None,
            "step": line.get("step") if line else None,
            "steps": line.get("steps") if line else None,
            "log": str(log) if log.is_file() else None,
        }
    return told


def _state(log: Path, settings: str | None, started: float, alive: bool) -> str:
    """completed, running, failed, pending, or not started: the pipeline ended before it."""
    mark = log.with_suffix(".done")
    if mark.is_file() and settings in (None, mark.read_text(encoding="utf-8")):
        return "completed"
    if log.is_file() and log.stat().st_mtime >= started:
        return "running" if alive else "failed"
    return "pending" if alive else "not started"


def as_lines(told: Mapping[str, Mapping[str, Any]]) -> str:
    """`report`, a line a command."""
    width = max(map(len, told), default=0)
    lines = []
    for name, one in told.items():
        step = f"  {one['step']} of {one['steps']}" if one["steps"] else ""
        lines.append(f"{name:<{width}}  {one['state']}{step}" + (f": {one['why']}" if one["why"] else ""))
    return "\n".join(lines)


def cancel(out: Path) -> None:
    """End the pipeline as Ctrl-C does, and wait until it is over.

    Raises:
        UserError: it runs on another machine, is somebody else's, or does not end.
    """
    if (runs := holder(out)) is None:
        return print(f"the pipeline in {out} is over already")
    if runs.host != socket.gethostname():
        raise UserError(f"the pipeline in {out} runs on {runs.host}: cancel it there.")
    try:
        os.kill(int(runs.pid), signal.SIGTERM)
    except (OSError, ValueError) as error:
        raise UserError(f"process {runs.pid} cannot be ended ({error}): ask its owner.") from error
    deadline = time.monotonic() + LONGEST_END
    while holder(out) is not None:
        if time.monotonic() > deadline:
            raise UserError(f"the pipeline in {out} still runs {LONGEST_END:.0f} s after it was asked to end.")
        time.sleep(0.2)
    print(f"the pipeline in {out} is over")
