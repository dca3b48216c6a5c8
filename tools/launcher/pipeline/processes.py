"""Running the commands of a pipeline's stage: at the same time, each with its log, until all ended or one failed."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tools.launcher.worker.logs import last_lines


@dataclass(frozen=True)
class Command:
    """One command line and the file that gets all its output."""

    name: str
    words: tuple[str, ...]
    log: Path


@dataclass
class _Running:
    command: Command
    process: subprocess.Popen[bytes]
    started: float


def run_commands(commands: Sequence[Command], parallel: int, tasks: int, done: int, total: int) -> Iterator[Command]:
    """Run `commands` and yield each that has ended well. Whatever ends this function, none of the commands goes on.

    Args:
        commands: in the order in which they start.
        parallel: how many of them run at the same time.
        tasks: processes of each command, for a fair share of the cores.
        done: how many ended before, for the count that is printed.
        total: how many there are in all, for the same.

    Raises:
        SystemExit: with the exit code of the first that fails.
    """
    with contextlib.closing(_as_they_end(commands, parallel, tasks, done, total)) as ended:
        for command, code in ended:
            if code:
                sys.exit(128 - code if code < 0 else code)
            yield command


def run_all_commands(commands: Sequence[Command], parallel: int) -> set[str]:
    """Run `commands` as `run_commands` does, going on past those that fail; the names of these."""
    with contextlib.closing(_as_they_end(commands, parallel, 1, 0, len(commands))) as ended:
        return {command.name for command, code in ended if code}


def _as_they_end(
    commands: Sequence[Command], parallel: int, tasks: int, done: int, total: int
) -> Generator[tuple[Command, int], None, None]:
    """Each command with its exit code (negative for a signal) once it has ended, which is printed too."""
    environment = os.environ | {"OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // (parallel * tasks)))}
    waiting = list(commands)
    running: list[_Running] = []
    try:
        while waiting or running:
            while waiting and len(running) < parallel:
                running.append(_start(waiting.pop(0), environment))
            time.sleep(0.1)
            for entry in [entry for entry in running if entry.process.poll() is not None]:
                running.remove(entry)
                done += 1
                _tell_end(entry, done, total)
                yield entry.command, entry.process.returncode
            _tell_progress(running, done, total)
    finally:
        for entry in running:
            entry.process.terminate()
        for entry in running:
            _end(entry.process)


def end_with_us() -> None:
    """Let SIGTERM and SIGINT unwind this process, so that whatever it started on this machine ends with it."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)


def _leave(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)


def _start(command: Command, environment: dict[str, str]) -> _Running:
    command.log.parent.mkdir(parents=True, exist_ok=True)
    _clear_line()
    print(f"{shlex.join(command.words)} > {shlex.quote(str(command.log))} 2>&1", flush=True)
    with open(command.log, "wb") as log:
        process = subprocess.Popen(
            command.words, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment
        )
    return _Running(command, process, time.monotonic())


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(20)  # the launcher gives its tasks ten seconds
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _tell_end(entry: _Running, done: int, total: int) -> None:
    """One line for a command that ended well; for another its last lines and one sentence."""
    code = entry.process.returncode
    _clear_line()
    if code == 0:
        print(f"[{done}/{total}] {entry.command.name}: {time.monotonic() - entry.started:.0f} s", flush=True)
        return
    for line in last_lines(entry.command.log, 10):
        print(f"  | {line}", file=sys.stderr)
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    print(f"error: stage '{entry.command.name}' {how}; its log: {entry.command.log}", file=sys.stderr)


def _tell_progress(running: list[_Running], done: int, total: int) -> None:
    """On a terminal, one line that is written over: how far, what runs, and the last that it said."""
    if not running or not sys.stdout.isatty():
        return
    entry = running[int(time.monotonic() / 3) % len(running)]
    said = (last_lines(entry.command.log, 1) or [""])[-1]
    line = f"[{done}/{total}] {entry.command.name} {time.monotonic() - entry.started:.0f} s: {said}"
    print(f"\r\033[K{line[: os.get_terminal_size().columns - 1]}", end="", flush=True)


def _clear_line() -> None:
    if sys.stdout.isatty():
        print("\r\033[K", end="")
