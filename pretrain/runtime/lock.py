"""A lock file that one process holds at a time. The kernel frees it when that process ends, even by a crash.

The library filelock takes and frees the lock. Two things are added. The file names the holder's machine and process,
for messages. A file system without locks is reported at once, without waiting.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import math
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from pretrain.runtime.errors import UserError

# A file server keeps the lock of a machine that it has lost until a lease ends (NFS: 90 seconds by default).
LEASE = 180.0
ENDING = 15.0  # seconds that an earlier start of a job on the same machine may need to end
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class Holder(NamedTuple):
    """The process that holds a lock; both are empty where it has not written them yet."""

    host: str
    pid: str


class Held(Exception):  # noqa: N818 - callers word the error
    """Another process still holds the lock after the waiting time."""

    def __init__(self, holder: Holder) -> None:
        super().__init__(f"process {holder.pid} on {holder.host}")
        self.holder = holder


@contextlib.contextmanager
def exclusive(path: Path, wait: Callable[[Holder], float]) -> Iterator[bool]:
    """Hold the lock file `path`, whose folder is made where it is missing; yield False where there are no locks.

    The file stays after the lock is freed. Its holder may delete it before: a waiting process then makes a new one.

    Args:
        path: the lock file.
        wait: called once with the holder where another process has the lock; it returns how many seconds to wait,
            which may be math.inf. It is the place to tell the user.

    Raises:
        Held: another process still holds it after that time.
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Where there is no flock, filelock's fallback leaves a file behind a killed process that blocks the next start.
    lock = FileLock(path, fallback_to_soft=False)
    try:
        held = _acquire(lock, path, wait)
        if held:
            path.write_text(f"{socket.gethostname()} {os.getpid()}\n", encoding="utf-8")
        yield held
    finally:
        lock.release()


def _acquire(lock: FileLock, path: Path, wait: Callable[[Holder], float]) -> bool:
    try:
        with contextlib.suppress(Timeout):
            lock.acquire(blocking=False)
            return True
        holder = _read_holder(path)
        if (seconds := wait(holder)) > 0:
            with contextlib.suppress(Timeout):
                lock.acquire(timeout=-1 if math.isinf(seconds) else seconds, poll_interval=0.2)
                return True
        raise Held(_read_holder(path))
    except OSError as error:
        if error.errno in WITHOUT_LOCKS:
            return False
        raise


def holder_of(path: Path) -> Holder | None:
    """Who holds the lock file `path` now; None where nobody does, or the file system has no locks.

    Many may ask at once, and none of them keeps another process from taking the lock for longer than the question.
    """
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_holder(path)
    except OSError:
        return None
    return None


def _read_holder(path: Path) -> Holder:
    text = ""
    with contextlib.suppress(OSError):
        text = path.read_text(encoding="utf-8")
    host, _, pid = text.strip().partition(" ")
    return Holder(host, pid)


@contextlib.contextmanager
def lock_run_folder(
    run_dir: Path, tell: Callable[[str], None], here: float = ENDING, elsewhere: float = LEASE
) -> Iterator[None]:
    """Hold RUN/.lock, so that one process trains in a run folder.

    Another holder may be an earlier start of the same job, so it gets time to end. Where the file system has no locks
    the run goes on without one.

    Args:
        run_dir: the run folder.
        tell: prints one line.
        here: seconds to wait for a holder on this machine.
        elsewhere: seconds to wait for a holder on another machine.

    Raises:
        UserError: the folder cannot be written, or another process trains there.
    """
    path = run_dir / ".lock"

    def wait(holder: Holder) -> float:
        """Seconds of patience with this holder, said before they begin."""
        patience = here if holder.host == socket.gethostname() else elsewhere
        if patience > 0:
            tell(f"waiting for {path}, which {holder.host or 'another machine'} holds (at most {patience:.0f} s)")
        return patience

    with contextlib.ExitStack() as stack:
        try:
            held = stack.enter_context(exclusive(path, wait))
        except Held as error:
            host, pid = error.holder
            raise UserError(
                f"another process trains in {run_dir} (on {host or 'a machine that did not tell'}, process "
                f"{pid or '?'}): wait for it, end it, or choose another run_dir."
            ) from error
        except OSError as error:
            raise UserError(
                f"run folder {run_dir} cannot be written ({error.strerror}): choose another run_dir."
            ) from error
        if not held:
            tell(f"note: {run_dir} is on a file system without locks; start no second run there.")
        yield
