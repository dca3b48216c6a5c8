"""Nothing that reads images hangs a tool: a batch that comes too late or a worker that dies ends it in a sentence."""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn, TypeVar

from pretrain.runtime.errors import BAD_INPUT, UserError
from pretrain.runtime.processes.interrupts import iterate
from pretrain.runtime.processes.workers import NO_ROOM

T = TypeVar("T")
LONGEST = 1e8  # seconds that a timer takes
LAST_RESORT = 60.0  # seconds after the time limit in which a signal should have ended the wait
GOES_ON = "what is written is whole, and the same command goes on from it"
WORKER = re.compile(r"DataLoader worker|[Pp]in memory thread")
HOW = re.compile(r"killed by signal: ([\w ]+)|(exit code \d+)")
CAUGHT = "Caught UserError in DataLoader worker"
RAISED_THERE = "in DataLoader worker process"  # of an error that torch brings from a worker


@dataclass(frozen=True)
class Patience:
    """How long the next batch may take, and what to say when it does not come.

    Args:
        minutes: the limit.
        where: what is read from, such as "the folder IMAGES".
        workers: the option that sets the number of workers; "" where there is none.
        option: the option that sets the limit; "" where there is none.
        need: shared memory that the workers need at most, in MiB; 0 where that is not known.
    """

    minutes: float
    where: str
    workers: str
    option: str = ""
    need: int = 0

    def late(self) -> str:
        """The sentence about a batch that did not come."""
        alone = f", try {self.workers}=0" if self.workers else ""
        remedy = f", or raise {self.option}" if self.option else ""
        return (
            f"no image has come for {self.minutes:g} minutes: the disk of {self.where} or a worker is stuck; look at "
            f"the disk{alone}{remedy}; {GOES_ON}."
        )

    def death(self, error: BaseException) -> str:
        """The sentence about a worker that ended; torch says how in the error or in the one behind it."""
        text = f"{error} {error.__cause__ or ''}"
        if "Bus error" in text or f"exit code {NO_ROOM}" in text or "shared memory" in text:
            need = f" (the workers need {self.need} MiB)" if self.need else ""
            return (
                f"the shared memory of this machine, /dev/shm, is full{need}: give it more (docker run --shm-size), or "
                f"lower {self.workers}; {GOES_ON}."
            )
        found = HOW.search(text)
        how = f" ({(found[1] or found[2]).strip()})" if found else ""
        fewer = f"lower {self.workers}, or " if self.workers else ""
        return (
            f"a worker that reads {self.where} has died{how}, most often because the memory ran out: {fewer}give this "
            f"machine more memory; {GOES_ON}."
        )


class _Late(BaseException):
    """Raised by the alarm: no part of a decoder or a loader may take it for an error of its own."""


def watched(batches: Iterable[T], patience: Patience) -> Iterator[T]:
    """Pass `batches` of a loader on; none may take longer than `patience` allows.

    Raises:
        UserError: a batch does not come in time, or a worker has died or refused to go on.
    """
    _preload(batches)
    with _LastResort.waiting(patience) as last, deaths_told(patience):
        iterator = iterate(batches)
        while True:
            try:
                with last.limit(patience.minutes * 60):
                    batch = next(iterator)
            except StopIteration:
                return
            except _Late:
                raise UserError(patience.late()) from None
            except (ConnectionError, EOFError) as error:  # it died while this process took a batch from it
                if RAISED_THERE in str(error):
                    raise
                raise UserError(patience.death(error)) from error
            yield batch


@contextlib.contextmanager
def deaths_told(patience: Patience) -> Iterator[None]:
    """Say in a sentence that a worker has died within; torch interrupts whatever is done at that moment.

    Raises:
        UserError: it has, or it refused to go on.
    """
    try:
        yield
    except UserError as error:
        if CAUGHT not in str(error):
            raise
        raise UserError(str(error).rpartition("UserError: ")[2].removesuffix("\\n")) from error
    except RuntimeError as error:
        if not isinstance(error, BrokenExecutor) and not WORKER.match(str(error)):
            raise
        raise UserError(patience.death(error)) from error
    except MemoryError as error:
        raise UserError(patience.death(error)) from error


def writing_fault(error: OSError | RuntimeError) -> str:
    """Why a file could not be written; torch.save tells of a full disk by a RuntimeError.

    Raises:
        RuntimeError: `error` itself, if it tells of a worker that died while the file was written.
    """
    if isinstance(error, RuntimeError) and WORKER.match(str(error)):
        raise error
    strerror = error.strerror if isinstance(error, OSError) else None
    return strerror or str(error).splitlines()[0]


def _preload(batches: object) -> None:
    """Where Python starts workers from a server (from 3.14 on), let that import once what each would import anew."""
    if multiprocessing.get_start_method() == "forkserver":
        reads = type(getattr(batches, "dataset", batches)).__module__
        multiprocessing.set_forkserver_preload(["pretrain.runtime.processes.workers", reads])


def _raise_late(number: int, frame: FrameType | None) -> NoReturn:
    """The alarm's handler. Workers end first, so that nothing waits for them while this process unwinds."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch would take their end for a fault
    _end_children()
    signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)
    raise _Late


def _end_children() -> None:
    children = multiprocessing.active_children()
    for child in children:
        child.kill()
    for child in children:
        child.join(5)


class _LastResort(threading.Thread):
    """Ends the process where the alarm cannot: in a read that the kernel never ends, or in a thread beside main."""

    def __init__(self, patience: Patience) -> None:
        super().__init__(daemon=True)
        self.patience, self.due, self.over = patience, math.inf, threading.Event()

    @classmethod
    @contextlib.contextmanager
    def waiting(cls, patience: Patience) -> Iterator[_LastResort]:
        """Run beside the body."""
        thread = cls(patience)
        thread.start()
        try:
            yield thread
        finally:
            thread.over.set()

    @contextlib.contextmanager
    def limit(self, seconds: float) -> Iterator[None]:
        """Let the body take so long, and raise `_Late` in the main thread afterwards."""
        self.due = time.monotonic() + seconds + LAST_RESORT
        main = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGALRM, _raise_late) if main else None
        try:
            if main:
                signal.setitimer(signal.ITIMER_REAL, min(seconds, LONGEST))
            yield
        finally:
            if main:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before or signal.SIG_DFL)
            self.due = math.inf

    def run(self) -> None:
        """Of the thread: end the process with the sentence where the main thread has not been woken by its alarm."""
        while not self.over.wait(min(5.0, LAST_RESORT)):
            if time.monotonic() > self.due:
                print(f"error: {self.patience.late()}", file=sys.stderr, flush=True)
                for child in multiprocessing.active_children():
                    child.kill()
                os._exit(BAD_INPUT)
