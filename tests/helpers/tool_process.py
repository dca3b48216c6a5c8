"""A tool run as a command, in a process forked from one that has imported what tools import: seconds less a command.

What differs from a new interpreter: modules are imported already. Tests of the import itself, of environment variables
that torch reads while it is imported, and of signals start an interpreter of their own.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

IMPORTED = ["torch", "torchvision", "detectron2.engine", "pretrain.train", "transfer.evaluate", "transfer.convert"]


def run(
    command: Sequence[str | Path],
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 300,
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run(command, capture_output=True, text=True)` of [interpreter, script, arguments ...]."""
    words = [str(word) for word in command]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "stdout", Path(folder) / "stderr"
        arguments = (words[1:], dict(os.environ if env is None else env), str(cwd or Path.cwd()), files)
        process = context.Process(target=_become, args=arguments)
        process.start()
        process.join(timeout)
        if process.is_alive():
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(words, timeout)
        assert process.exitcode is not None
        said, told = (path.read_text(encoding="utf-8", errors="surrogateescape") for path in files)
        return subprocess.CompletedProcess(words, process.exitcode, said, told)


def _become(words: list[str], env: dict[str, str], cwd: str, files: tuple[Path, Path]) -> None:
    """This process as the command `words`: its streams, environment, folder and arguments."""
    for stream, path in zip((sys.stdout, sys.stderr), files, strict=True):
        stream.flush()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, stream.fileno())
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv = words
    sys.path.insert(0, str(Path(words[0]).parent))
    runpy.run_path(words[0], run_name="__main__")
