"""A process that works for another one ends where that one sends the signal, and at no other sender's."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import time
from multiprocessing import resource_tracker

import pytest

from pretrain.runtime.processes.interrupts import starting_processes
from pretrain.runtime.processes.parent import leave_signals_to_parent

PATIENCE = 120  # seconds


def begin_late(line):
    """Tell that this process has begun, wait as if still importing, leave the signals to the parent, then answer."""
    line.send("begun")
    assert line.poll(PATIENCE)
    line.recv()
    leave_signals_to_parent()
    line.send("ready")
    assert line.poll(PATIENCE)
    line.send(f"got {line.recv()}")


def _send_as_a_stranger(process: int) -> None:
    subprocess.run(["kill", f"-{signal.SIGTERM.value}", str(process)], check=True)


def _next(line) -> str:
    assert line.poll(PATIENCE), "the worker says nothing"
    return line.recv()


@pytest.mark.parametrize("told_to_end", [True, False], ids=["ended by its parent", "left to its work"])
@pytest.mark.parametrize("method", ["fork", "spawn"])  # a fork server that is up hands on what it began with
def test_a_worker_outlives_a_strangers_sigterm_from_its_first_moment_on(method, told_to_end):
    here = multiprocessing.get_context(method)
    resource_tracker.ensure_running()  # as starting_processes does where this method is the default
    mine, its = here.Pipe()
    with starting_processes():
        worker = here.Process(target=begin_late, args=(its,), daemon=True)  # which the tests' end does not wait for
        worker.start()
    its.close()
    assert _next(mine) == "begun"
    _send_as_a_stranger(worker.pid)
    mine.send("begin")
    assert _next(mine) == "ready"
    _send_as_a_stranger(worker.pid)
    if told_to_end:
        deadline = time.monotonic() + PATIENCE
        while worker.is_alive() and time.monotonic() < deadline:  # one that waits swallows the next of its kind
            worker.terminate()
            worker.join(0.1)
        with pytest.raises((EOFError, ConnectionResetError)):
            mine.recv()
    else:
        mine.send("work")
        assert _next(mine) == "got work"
        worker.join(PATIENCE)
    assert worker.exitcode == 0
