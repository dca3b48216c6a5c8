"""What a process starts with that works for another one: a loader's worker, forked or started anew."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from multiprocessing.queues import Queue

import torch

from pretrain.runtime.processes.parent import leave_signals_to_parent

NO_ROOM, NOT_SENT = 71, 74  # exit codes of a worker: no shared memory is left; a batch could not be sent


def init_worker(_: int) -> None:
    """A loader's `worker_init_fn`: one thread, and every signal to stop left to the process that it works for.

    A worker that cannot hand over a batch ends: the batch would be waited for in vain, for it is sent by a thread,
    whose errors reach nobody.
    """
    torch.set_num_threads(1)
    leave_signals_to_parent()
    leave_where_nothing_can_be_sent()


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
