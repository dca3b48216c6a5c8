"""A file that one process holds at a time: the kernel lets go of it when that process ends, however it ends.

The library filelock takes and releases the lock. What it does not do is added here: the holder's machine and process
stand in the file, for the sentence that names them, and a file system without locks is told of and not waited for.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from pretrain.runtime.errors import UserError

# A file server may keep the lock of a machine that it has lost for a lease (NFS: 90 seconds by default).
LEASE = 180.0
ENDING = 15.0  # seconds that an earlier start of a job on the same machine may need to be gone
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


class Holder(NamedTuple):
    """The process that holds a lock; both are empty where it has not written them."""

    host: str
    pid: str


class Held(Exception):  # noqa: N818 - callers word the error
    """A lock that another process did not let go of in time."""

    def __init__(self, holder: Holder) -> None:
        super().__init__(f"process {holder.pid} on {holder.host}")
        self.holder = holder


@contextlib.contextmanager
def exclusive(path: Path, wait: Callable[[Holder], float]) -> Iterator[bool]:
    """Hold the file `path`, whose folder is made where it is missing; False where its file system has no locks.

    The file stays when the lock ends. Its holder may remove it while it holds it: who waits then makes it anew.

    Args: wait, called once where another process holds the file: it returns for how many seconds to wait, which may be
        math.inf, and is the place to tell the user.

    Raises:
        Held: another process still holds it after that time.
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without flock filelock would make a file that outlives a process which is killed, and then blocks the next start.
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

    Another holder is waited for, since it may be an earlier start of the same job. Where the file system has no locks
    the run goes on without.

    Args: tell, what prints a line. here, elsewhere: seconds to wait for a holder on this machine and on another.

    Raises:
        UserError: the folder cannot be written, or another process trains there.
    """
    path = run_dir / ".lock"

    def wait(holder: Holder) -> float:
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
