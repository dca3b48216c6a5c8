"""What a process starts with that works for another one: a loader's worker, forked or started anew."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from multiprocessing.queues import Queue

import torch

from pretrain.runtime.processes.interrupts import leave_interrupts_to_parent

NO_ROOM, NOT_SENT = 71, 74  # exit codes of a worker: no shared memory is left; a batch could not be sent


def init_worker(_: int) -> None:
    """A loader's `worker_init_fn`: one thread, and every signal to stop left to the process that it works for.

    A worker that cannot hand over a batch ends: the batch would be waited for in vain, for it is sent by a thread,
    whose errors reach nobody.
    """
    torch.set_num_threads(1)
    leave_interrupts_to_parent()
    leave_stops_to_parent()
    leave_where_nothing_can_be_sent()


def leave_stops_to_parent() -> None:
    """Let SIGUSR2 and SIGTERM end this worker only where the process that it works for sends them.

    A scheduler, a container's end and `timeout` send theirs to every process of a run. A worker that dies of it
    interrupts the process that it works for while that takes its last step or writes its checkpoint.
    """
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # a handler is not told who sent a signal; macOS lacks the call that is
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # in threads that start later, too
        threading.Thread(target=_await_end, args=(os.getppid(),), daemon=True).start()


def _await_end(parent: int) -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent:
        pass
    os._exit(0)


def leave_where_nothing_can_be_sent() -> None:
    """Let this process, if it works for another one, and those that it forks end once they cannot send a result."""
    Queue._on_queue_feeder_error = staticmethod(_leave)  # type: ignore[attr-defined]  # the hook for subclasses


def _leave(error: Exception, _: object) -> None:
    if multiprocessing.parent_process() is None:
        traceback.print_exception(error)
        return
    if "shared memory" in str(error) and "No space left" in str(error):
        os._exit(NO_ROOM)
    if not isinstance(error, (BrokenPipeError, ConnectionError, EOFError)):  # of a receiver that has left
        traceback.print_exception(error)
    os._exit(NOT_SENT)
