"""Work on many files in several processes, in order, with Ctrl-C left to the process that waits for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

from pretrain.runtime.processes.interrupts import starting_processes
from pretrain.runtime.processes.parent import leave_signals_to_parent

Result = TypeVar("Result")
AT_ONCE = 64  # inputs of each process that are handed out before their results are taken


def mapped(make: Callable[..., Result], workers: int, *inputs: Sequence[Any]) -> Iterator[Result]:
    """Apply `make` as `map` does, in `workers` processes; a slice at a time, which bounds the memory.

    Wrap it in `watch.watched`, for a process may die or hang.
    """
    if workers < 2:
        yield from map(make, *inputs)
        return
    with ProcessPoolExecutor(workers, initializer=leave_signals_to_parent) as pool:
        for start in range(0, len(inputs[0]), AT_ONCE * workers):
            slices = [one[start : start + AT_ONCE * workers] for one in inputs]
            with starting_processes():
                made = pool.map(make, *slices, chunksize=4)
            yield from made
