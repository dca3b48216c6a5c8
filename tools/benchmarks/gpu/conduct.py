"""Run the parts one after the other, each in a process of its own, and keep what each had measured when it ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pretrain.runtime.repository import HOME
from tools.benchmarks.gpu.part import Part, Reading

GRACE = 10.0  # seconds between asking a part to end and ending it
TOLD = 300  # characters of a part's last words


@dataclass(frozen=True)
class Run:
    """What all parts are given. minutes: of all of them together."""

    device: str
    toy: bool
    images: Path | None
    minutes: float


def conduct(parts: Sequence[Part], run: Run) -> Iterator[Reading]:
    """Each part's readings, once the part is over; what ended it before its end is a reading too.

    A part has its share of the time that is left. What one leaves over falls to those after it.
    """
    until = time.monotonic() + 60 * run.minutes
    for place, part in enumerate(parts):
        share = part.share / sum(later.share for later in parts[place:])
        seconds = max(0.0, until - time.monotonic()) * share
        yield from (replace(reading, part=part.name) for reading in _measured(part, run, seconds))


def _measured(part: Part, run: Run, seconds: float) -> Iterator[Reading]:
    order = {"name": part.name, "seconds": seconds, "device": run.device, "toy": run.toy}
    order["images"] = os.fspath(run.images) if run.images else ""
    with tempfile.TemporaryDirectory() as folder:
        rows, words = Path(folder, "rows.jsonl"), Path(folder, "words.txt")
        rows.touch()
        command = [sys.executable, "-m", "tools.benchmarks.gpu.child", json.dumps(order), os.fspath(rows)]
        start = time.monotonic()
        with open(words, "wb") as told:
            child = subprocess.Popen(
                command, cwd=HOME, stdout=told, stderr=told, env=_environment(run.toy), start_new_session=True
            )
            ended = _end_of(child, seconds)
        yield from (Reading(**json.loads(line)) for line in rows.read_text(encoding="utf-8").splitlines())
        if ended is None:
            after = f"ended after {time.monotonic() - start:.0f} s, its part of --minutes"
            yield Reading("out of time", note=f"{after}; {_last_words(words)}")
        elif ended:
            yield Reading("failed", note=f"exit code {ended}: {_last_words(words)}")


def _environment(toy: bool) -> dict[str, str]:
    """Ours; one thread at toy size, where several would wait for each other more than they compute."""
    return os.environ | ({"OMP_NUM_THREADS": "1"} if toy else {})


def _end_of(child: subprocess.Popen[bytes], seconds: float) -> int | None:
    """The exit code of a part, or None where its time was over; then it and all that it started are ended."""
    try:
        return child.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        for sent, wait in ((signal.SIGTERM, GRACE), (signal.SIGKILL, None)):
            if child.poll() is None:
                with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                    os.killpg(child.pid, sent)
                    child.wait(wait)


def _last_words(words: Path) -> str:
    lines = words.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it printed nothing"]
    return lines[-1][:TOLD]
