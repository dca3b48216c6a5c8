"""The one exception that a user's mistake raises, and how a command line tool ends on it."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from pretrain.runtime.printable import printable
from pretrain.runtime.processes.interrupts import INTERRUPTED, Interrupts
from pretrain.runtime.repository import spoken

BAD_INPUT = 2
REFUSED = (  # what a file system refuses, whatever is asked of it
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EFBIG, errno.EIO, errno.ENAMETOOLONG, errno.ELOOP}
    | {errno.ENOTDIR, errno.EMFILE, errno.ENFILE, errno.EDQUOT, errno.ESTALE}
)
LOST = 69  # EX_UNAVAILABLE of sysexits.h: another rank is gone; the same command resumes the run
STOPPED = 75  # EX_TEMPFAIL of sysexits.h: the run was stopped; the same command resumes it


class UserError(ValueError):
    """Bad input. The message is one sentence: what is wrong, where, and how to mend it.

    Names that a file or a user gave it may hold line ends and terminal codes; they are written as escapes.
    """

    def __init__(self, sentence: object) -> None:
        super().__init__(printable(spoken(str(sentence))))


class Stopped(Exception):  # noqa: N818 - no error
    """A run that was asked to stop and has saved its state. The message is one sentence; a new start resumes it."""


class Lost(Exception):  # noqa: N818 - as Stopped
    """Another rank is gone. The message is one sentence; a new start, which a launcher makes by itself, resumes it."""


def fail(sentence: str, code: int = BAD_INPUT) -> NoReturn:
    """Print one sentence to stderr and exit with `code`."""
    sys.stdout.flush()
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(code)


def run_tool(main: Callable[[], object]) -> NoReturn:
    """Run a tool's `main` and end the process with the exit code that fits.

    Bad input prints one sentence and exits with 2, and so does what the file system refuses. A run that was asked to
    stop exits with 75, one that has lost its other ranks with 69. Ctrl-C prints one sentence and exits with 130, as in
    a shell. A defect of ours shows its traceback.
    """
    _print_any_name()
    with Interrupts().listening() as interrupts:
        try:
            main()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) or (isinstance(error, Exception) and interrupts.caused(error)):
                _end_interrupted(interrupts)
            _end(error)
            raise
    sys.exit(0)


def _print_any_name() -> None:
    """Print characters that the terminal's encoding lacks, and bytes of names that have none, as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _end_interrupted(interrupts: Interrupts) -> NoReturn:
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    interrupts.end()
    sys.exit(INTERRUPTED)


def _end(error: BaseException) -> None:
    """Leave the tool in the way that fits `error`; return where it is a defect of ours."""
    if isinstance(error, Stopped):
        print(error, flush=True)
        sys.exit(STOPPED)
    if isinstance(error, UserError):
        fail(str(error))
    if isinstance(error, Lost):
        fail(printable(str(error)), LOST)
    if isinstance(error, BrokenPipeError):  # the reader of our output has closed it, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    if isinstance(error, OSError) and error.errno in REFUSED:
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
        fail(f"{where}{error.strerror}: see the rights and the room there, or give another path.")
    # what `import torchvision` says when its operators do not fit torch
    if isinstance(error, (RuntimeError, ImportError)) and "torchvision::" in str(error):
        fail(
            "this torch has no torchvision whose operators load (a '+cpu' build of torch beside a torchvision of "
            "the registry does this): run `pip install --force-reinstall torch torchvision` without extra indexes."
        )
