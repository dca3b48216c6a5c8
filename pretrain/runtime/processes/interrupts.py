"""What Ctrl-C leaves on the screen: one sentence, whichever thread or process it meets and at whatever moment.

The terminal sends SIGINT to every process of a tool. It is the tool's own main thread alone that answers: it unwinds
through KeyboardInterrupt, so that files are closed and locks let go. What others would print meanwhile is about that
unwinding and nothing else, so it is not printed.
"""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from multiprocessing import resource_tracker
from types import FrameType
from typing import Any, TypeVar

INTERRUPTED = 128 + signal.SIGINT  # as a shell has it
SENTENCE = "interrupted: what is written is whole; the same command uses it again or begins anew."
PATIENCE = 2.0  # seconds after which another Ctrl-C means: leave, without closing what is open
LAST_WORK = 10.0  # seconds that threads and workers have to end, once the sentence is told
PUT_OFF = (signal.SIGINT, signal.SIGALRM)  # while processes are started
UNHEARD = (signal.SIGINT, signal.SIGTERM)  # by a process that is started, until it says how it answers them

T = TypeVar("T")


class Interrupts:
    """Answers SIGINT for one tool, from `listening` on.

    asked: when Ctrl-C came first, None as long as it did not. told: whether the sentence is on the screen.
    """

    def __init__(self) -> None:
        self.asked: float | None = None
        self.told = False
        self.process = os.getpid()

    @contextlib.contextmanager
    def listening(self) -> Iterator[Interrupts]:
        """Within, SIGINT is answered; after an interruption the handlers stay, until the process has ended.

        Nothing changes outside the main thread, and where SIGINT is ignored, as it is for a job in the background.
        """
        before = signal.getsignal(signal.SIGINT)
        if before is signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
            yield self
            return
        hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
        sys.excepthook, sys.unraisablehook, threading.excepthook = map(self._silenced, hooks)
        signal.signal(signal.SIGINT, self.answer)
        try:
            yield self
        finally:
            if self.asked is None:
                signal.signal(signal.SIGINT, before)
                sys.excepthook, sys.unraisablehook, threading.excepthook = hooks
                atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)  # nothing is left that it could end

    def answer(self, number: int = signal.SIGINT, frame: FrameType | None = None) -> None:
        """Unwind at the first Ctrl-C, overhear impatient repetitions, and leave at once at a later one.

        A process that was forked from the tool has this handler too, and leaves the answer to the tool.
        """
        if os.getpid() != self.process:
            return
        if self.asked is None:
            self.asked = time.monotonic()
            raise KeyboardInterrupt
        if not self.told and time.monotonic() > self.asked + PATIENCE:
            os.write(2, f"{SENTENCE}\n".encode())
            _end_children()
            os._exit(INTERRUPTED)

    def caused(self, error: BaseException | None) -> bool:
        """Whether an exception is what Ctrl-C became on its way, such as an import that failed because of it."""
        while error is not None and self.asked is not None:
            if isinstance(error, KeyboardInterrupt):
                return True
            error = error.__cause__ or error.__context__
        return False

    def end(self) -> None:
        """Tell the sentence, and let the interpreter end silently and soon; for the last lines of a tool."""
        self.told = True
        if self.asked is not None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        print(SENTENCE, file=sys.stderr, flush=True)
        if self.asked is None:  # no signal: raised by hand
            return
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        timer = threading.Timer(LAST_WORK, _leave)
        timer.daemon = True
        timer.start()

    def _silenced(self, hook: Any) -> Any:
        """One of Python's hooks for an exception that nobody catches, silent about what Ctrl-C causes."""

        def told(*arguments: Any) -> None:
            """Pass on to `hook` what Ctrl-C has not caused."""
            kind = getattr(arguments[0], "exc_type", arguments[0])
            if os.getpid() != self.process:  # forked from the tool
                if not receiver_left(kind):
                    hook(*arguments)
            elif self.asked is None:
                hook(*arguments)
            elif kind is KeyboardInterrupt and not self.told:
                # An interrupt in a destructor is lost there: ask for it once more, when the destructor is over.
                threading.Thread(target=self._again, daemon=True).start()

        return told

    def _again(self) -> None:
        time.sleep(0.05)
        self.asked = None
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def _leave() -> None:
    _end_children()
    os._exit(INTERRUPTED)


def _end_children() -> None:
    """End the processes that work for this one, and let none of their semaphores be told as left behind."""
    for child in multiprocessing.active_children():
        child.kill()
    if (tracker := getattr(resource_tracker._resource_tracker, "_pid", None)) is not None:  # no public name has it
        with contextlib.suppress(OSError):
            os.kill(tracker, signal.SIGKILL)


def receiver_left(kind: type[BaseException]) -> bool:
    """Whether a thread of a worker met a broken connection.

    A tensor goes to its receiver through a thread of the process that made it. Where the receiver is gone it has told
    the reason itself.
    """
    broken = issubclass(kind, (EOFError, OSError, multiprocessing.AuthenticationError))
    return broken and threading.current_thread() is not threading.main_thread()


def iterate(batches: Iterable[T]) -> Iterator[T]:
    """Iterate over a loader, whose workers are started so that Ctrl-C at any moment is left to this process."""
    with starting_processes():
        iterator = iter(batches)
    yield from iterator


@contextlib.contextmanager
def starting_processes() -> Iterator[None]:
    """Answer Ctrl-C and alarms afterwards, and let processes that are started within not hear Ctrl-C and SIGTERM.

    A new interpreter ends at SIGINT with a traceback and at SIGTERM without one, until it comes to `init_worker`. So
    both are blocked, which new processes inherit. SIGINT may still reach another thread of this one, so it is also put
    off, as an alarm is: half a start would leave a process without its work, and Python drops what is raised while it
    forks.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: found for number in PUT_OFF if callable(found := signal.getsignal(number))}
    heard: dict[int, FrameType | None] = {}
    if multiprocessing.get_start_method() != "fork":
        resource_tracker.ensure_running()  # which would unblock the signal if it were started later
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, UNHEARD)
    for number in handlers:
        signal.signal(number, heard.__setitem__)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)  # what waited meanwhile is heard now
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for late, frame in heard.items():
            handlers[signal.Signals(late)](late, frame)
