"""A tool run as a command, in a process forked from one that has imported what tools import: seconds less a command.

What differs from a new interpreter: modules are imported already. Tests of the import itself, of environment variables
that torch reads while it is imported, and of signals that come before the tool's own code start an interpreter.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from helpers.repository import ROOT

OURS = {"pretrain", "transfer", "tools", "helpers"}
IMPORTED = ["torch", "torchvision", "detectron2.engine", "pretrain.train", "transfer.evaluate", "transfer.convert"]


@dataclass(frozen=True)
class Running:
    """A tool that was started. words: its command. streams: the files of what it prints and what it complains of."""

    words: list[str]
    process: BaseProcess
    streams: tuple[Path, Path]

    @property
    def pid(self) -> int:
        """Its process, and its process group where it was started apart."""
        assert self.process.pid is not None
        return self.process.pid

    def wait_for_line(self, start: str) -> None:
        """Until it has printed a line that begins so, or has ended."""
        while self.process.is_alive():
            with contextlib.suppress(FileNotFoundError):  # it has not come to its own streams
                if f"\n{start}" in "\n" + self.streams[0].read_text(encoding="utf-8", errors="surrogateescape"):
                    return
            time.sleep(0.002)

    def end(self, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """How it ended; TimeoutExpired, and it is killed, where it has not by then."""
        self.process.join(timeout)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
            raise subprocess.TimeoutExpired(self.words, timeout)
        assert self.process.exitcode is not None
        said, told = (path.read_text(encoding="utf-8", errors="surrogateescape") for path in self.streams)
        return subprocess.CompletedProcess(self.words, self.process.exitcode, said, told)


def run(
    command: Sequence[str | Path],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 300,
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run(command, capture_output=True, text=True)` of [interpreter, script, arguments ...]."""
    with started(command, env, cwd) as tool:
        return tool.end(timeout)


@contextlib.contextmanager
def started(
    command: Sequence[str | Path],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    apart: bool = False,
) -> Iterator[Running]:
    """The same while it runs; it is killed at the end of the block, where it still does.

    Args: those of `run`; apart, whether it leads a process group of its own, as `start_new_session=True`.
    """
    words = [str(word) for word in command]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    with tempfile.TemporaryDirectory() as folder:
        streams = Path(folder) / "stdout", Path(folder) / "stderr"
        arguments = (words[1:], dict(os.environ if env is None else env), str(cwd or Path.cwd()), streams, apart)
        process = context.Process(target=_become, args=arguments)
        process.start()
        try:
            yield Running(words, process, streams)
        finally:
            process.kill()
            process.join()


def _become(words: list[str], env: dict[str, str], cwd: str, streams: tuple[Path, Path], apart: bool) -> None:
    """This process as the command `words`: its streams, environment, folder and arguments."""
    multiprocessing.set_start_method(None, force=True)  # of a new interpreter, for its workers
    if apart:
        os.setsid()
    for stream, path in zip((sys.stdout, sys.stderr), streams, strict=True):
        stream.flush()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, stream.fileno())
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    home = next((folder for folder in Path(words[0]).resolve().parents if (folder / "pretrain").is_dir()), ROOT)
    if home != ROOT:  # a copy, which has packages of its own
        for name in [name for name in sys.modules if name.split(".")[0] in OURS]:
            del sys.modules[name]
        sys.path[:0] = env["PYTHONPATH"].split(os.pathsep) if env.get("PYTHONPATH") else []
    if apart:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    sys.argv = words
    sys.path.insert(0, str(Path(words[0]).parent))
    runpy.run_path(words[0], run_name="__main__")
