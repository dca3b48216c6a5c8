"""Stopping a run where it can go on: a signal becomes a wish, and all ranks agree on the step to leave after."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError

SIGNALS = (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)  # SLURM's warning, its end (and torchrun's), Ctrl-C


class Wish:
    """Whether a signal asked this process to stop, or its images have ended; only its main thread can listen."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.failure: UserError | None = None  # why no more images come
        self._interrupt: Callable[[int, FrameType | None], Any] | int | None = None  # what Ctrl-C does elsewhere

    @contextlib.contextmanager
    def listening(self) -> Iterator[Wish]:
        """Within, a signal is noted; a second Ctrl-C interrupts at once, as anybody at a keyboard expects.

        Once one was noted the process is about to leave, and those that come after `listening` are not to disturb that.
        """
        self._interrupt = signal.getsignal(signal.SIGINT)
        before = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_IGN if self.signal else handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal == signal.SIGINT and callable(self._interrupt):
            self._interrupt(number, frame)
        self.signal = signal.Signals(number)


class Stopping:
    """The wishes of all ranks, exchanged beside the computation.

    A rank that stopped by itself would leave the others waiting in a collective. So each step every rank says whether
    it was asked, through the processor's own network and without waiting for the device, and reads the answer one step
    later: all read the same answer at the same step.
    """

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.answer = distributed.any_rank(False)

    def agreed(self) -> bool:
        """Once every step on every rank; True on all of them one step after the first rank was asked.

        In one process at once.
        """
        asked = self.wish.signal is not None or self.wish.failure is not None
        if distributed.world_size() == 1:
            return asked
        agreed = self.answer()
        self.answer = distributed.any_rank(asked)
        return agreed

    def finish(self) -> None:
        """Wait for the last exchange, before the process group ends."""
        self.answer()
