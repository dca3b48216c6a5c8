"""How a fuzz test searches: some examples with fixed seeds, or new ones for FUZZ_SECONDS seconds (`make fuzz`).

A test hands `search` a check and Hypothesis strategies. The check hands `outcome` what it tries. An outcome is right or
refused in one sentence; a traceback, a hang and a file left behind fail. Pin each fault that a long search finds as an
ordinary test beside the fix.

A long search writes below fuzz-found/: `counts.txt`, a line a target, and of a target that failed its smallest example
and the files that it was tried on.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import re
import resource
import shutil
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from helpers.repository import ROOT
from pretrain.runtime.errors import UserError

Result = TypeVar("Result")
LONG_SEARCH = "FUZZ_SECONDS"
HANG = 60  # seconds after which a single example counts as one without end
MEMORY = 4 << 30  # bytes that a single example may ask for beyond what the process has
BATCH = 50  # examples between two looks at the clock
FOUND = ROOT / "fuzz-found"
LARGEST_KEPT = 4 << 20  # bytes of a file of a failed example
_last: dict[str, Path | str] = {}  # what the last `outcome` of an example was, and its folder


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
    counts: Counter[str] = Counter()
    watched, begun = _kept(check, counts), time.monotonic()
    try:
        while time.monotonic() < begun + budget():
            drawn = settings(**bounded, max_examples=BATCH)(given(**strategies)(watched))
            seed(random.getrandbits(64))(drawn)()
    finally:
        _write_counts(counts, time.monotonic() - begun)


def _target() -> str:
    """The test that searches, as a name of a file."""
    name = os.environ["PYTEST_CURRENT_TEST"].rpartition("/")[2].rpartition(" ")[0]
    return re.sub(r"[^\w-]+", "-", name).strip("-")


def _kept(check: Callable[..., None], counts: Counter[str]) -> Callable[..., None]:
    """`check`, which counts what came of each example, and keeps one that fails for whoever mends the fault."""

    @functools.wraps(check)
    def watched(**drawn: object) -> None:
        _last.clear()
        counts["inputs"] += 1
        try:
            check(**drawn)
        except Exception:
            counts["failed"] += 1
            _keep(drawn, traceback.format_exc())
            raise
        counts[str(_last.get("outcome", "right"))] += 1

    return watched


def _keep(drawn: dict[str, object], why: str) -> None:
    """Write an example down. Hypothesis tries ever smaller ones, so the last that is written is the smallest."""
    folder = FOUND / _target()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "example.txt").write_text(f"{drawn!r}\n\n{why}", encoding="utf-8", errors="backslashreplace")
    tried = _last.get("folder")
    for path in Path(tried).glob("*") if tried else ():
        if path.is_file() and path.stat().st_size <= LARGEST_KEPT:
            shutil.copy(path, folder)


def _write_counts(counts: Counter[str], seconds: float) -> None:
    FOUND.mkdir(exist_ok=True)
    told = ", ".join(f"{counts[kind]} {kind}" for kind in ("inputs", "right", "refused", "failed"))
    with open(FOUND / "counts.txt", "a", encoding="utf-8") as file:
        file.write(f"{_target()}: {told}, {seconds:.0f} s\n")


def outcome(call: Callable[[], Result], folder: Path, bound: bool = True) -> Result | UserError:
    """What `call` returns, or the sentence that it refuses with. Anything else is a fault and fails.

    Args:
        call: what is tried.
        folder: where files may be written; after a refusal it holds what it held before.
        bound: whether memory is bounded, which libraries that reserve far more than they use do not survive.
    """
    before = _listing(folder)
    _last.update(folder=folder, outcome="right")
    try:
        with _bounded(bound):
            return call()
    except UserError as error:
        _last["outcome"] = "refused"
        assert str(error).isprintable(), f"not one line of plain text: {str(error)!r}"
        assert len(str(error)) < 3000, "a sentence that nobody reads"
        assert _listing(folder) == before, "a refusal left a file behind"
        return error


def _listing(folder: Path) -> dict[str, tuple[int, int]]:
    """All files below `folder` with their sizes and times."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


@contextlib.contextmanager
def _bounded(memory: bool) -> Iterator[None]:
    """A hang ends in TimeoutError, a request for MEMORY more bytes in MemoryError."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"no end after {HANG} seconds")

    before, limits = signal.signal(signal.SIGALRM, stop), resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, limits[1]))
    signal.alarm(HANG)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, limits)
