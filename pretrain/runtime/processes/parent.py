"""What a process that works for another one leaves to it: the answer to Ctrl-C and to every signal to stop."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from types import TracebackType

from pretrain.runtime.processes.interrupts import receiver_left


def leave_signals_to_parent() -> None:
    """Leave Ctrl-C and every signal to stop to the process that this one works for."""
    leave_interrupts_to_parent()
    leave_stops_to_parent()


def leave_interrupts_to_parent() -> None:
    """For a process that works for another one: ignore Ctrl-C, and be silent where the other has left already."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    hook = sys.excepthook

    def told(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not receiver_left(kind):
            hook(kind, error, trace)

    sys.excepthook = told


def leave_stops_to_parent() -> None:
    """Let SIGUSR2 and SIGTERM end this worker only where the process that it works for sends them.

    A scheduler, a container's end and `timeout` send theirs to every process of a run. A worker that dies of it
    interrupts the process that it works for while that takes its last step or writes its checkpoint.
    """
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # a handler is not told who sent a signal; macOS lacks the call that is
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # in threads that start later, too
        threading.Thread(target=_await_end, args=(_parent(),), daemon=True).start()
    elif hasattr(signal, "pthread_sigmask"):  # which the process that started this one blocked
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


def _parent() -> int:
    told = multiprocessing.parent_process()  # with a fork server, os.getppid() is that server
    return os.getppid() if told is None or told.pid is None else told.pid


def _await_end(parent: int) -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent:
        pass
    os._exit(0)
