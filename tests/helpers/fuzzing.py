"""How a fuzz test searches: some examples with fixed seeds, or new ones for FUZZ_SECONDS seconds (`make fuzz`).

A test hands `search` a check and Hypothesis strategies. The check hands `outcome` what it tries. An outcome is right or
refused in one sentence; a traceback, a hang and a file left behind fail. Pin each fault that a long search finds as an
ordinary test beside the fix.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from pretrain.runtime.errors import UserError

Result = TypeVar("Result")
LONG_SEARCH = "FUZZ_SECONDS"
HANG = 60  # seconds after which a single example counts as one without end
MEMORY = 4 << 30  # bytes that a single example may ask for beyond what the process has
BATCH = 50  # examples between two looks at the clock


def budget() -> float:
    """Seconds that each target is searched with new seeds; 0 for the fixed ones alone."""
    return float(os.environ.get(LONG_SEARCH) or 0)


def search(check: Callable[..., None], examples: int, **strategies: SearchStrategy) -> None:
    """Run `check` on `examples` draws that are the same every time, or, where FUZZ_SECONDS is set, on new ones.

    Args:
        check: takes what the strategies draw, by name, and raises where the outcome is wrong.
        examples: how many draws the bounded search makes.
        strategies: of Hypothesis.
    """
    bounded = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
    if not budget():
        fixed = settings(**bounded, max_examples=examples, derandomize=True, phases=[Phase.generate])
        fixed(given(**strategies)(check))()  # without the search for a smaller example, which takes minutes
        return
    until = time.monotonic() + budget()
    while time.monotonic() < until:
        drawn = settings(**bounded, max_examples=BATCH)(given(**strategies)(check))
        seed(random.getrandbits(64))(drawn)()


def outcome(call: Callable[[], Result], folder: Path) -> Result | UserError:
    """What `call` returns, or the sentence that it refuses with. Anything else is a fault and fails.

    Args:
        call: what is tried.
        folder: where files may be written; after a refusal it holds what it held before.
    """
    before = _listing(folder)
    try:
        with _bounded():
            return call()
    except UserError as error:
        assert str(error).isprintable(), f"not one line of plain text: {str(error)!r}"
        assert len(str(error)) < 3000, "a sentence that nobody reads"
        assert _listing(folder) == before, "a refusal left a file behind"
        return error


def _listing(folder: Path) -> dict[str, tuple[int, int]]:
    """All files below `folder` with their sizes and times."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
    """A hang ends in TimeoutError, a request for MEMORY more bytes in MemoryError."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"no end after {HANG} seconds")

    before, limits = signal.signal(signal.SIGALRM, stop), resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, limits[1]))
    signal.alarm(HANG)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, limits)
