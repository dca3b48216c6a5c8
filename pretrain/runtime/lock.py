"""One run folder, one run: a lock that ends with the process that holds it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from pretrain.runtime.errors import UserError

# A file server may keep the lock of a machine that it has lost for a lease (NFS: 90 seconds by default).
LEASE = 180.0
ENDING = 15.0  # seconds that an earlier start of a job on the same machine may need to be gone


@contextlib.contextmanager
def locked(
    run_dir: Path, tell: Callable[[str], None], here: float = ENDING, elsewhere: float = LEASE
) -> Iterator[None]:
    """Hold RUN/.lock, which the kernel lets go when this process ends, however it ends.

    Another holder is waited for, `here` seconds on this machine and `elsewhere` on another, since it may be an earlier
    start of the same job. Where the file system has no locks the run goes on without.

    Raises:
        UserError: the folder cannot be written, or another process trains there.
    """
    path = run_dir / ".lock"
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        handle = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"run folder {run_dir} cannot be written ({error.strerror}): choose another run_dir."
        ) from error
    with handle:
        _take(handle, path, tell, here, elsewhere)
        handle.truncate(0)
        handle.write(f"{socket.gethostname()} {os.getpid()}\n")
        handle.flush()
        yield


def _take(handle: TextIO, path: Path, tell: Callable[[str], None], here: float, elsewhere: float) -> None:
    start, told = time.monotonic(), False
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            host, _, pid = _holder(path).partition(" ")
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                return tell(f"note: {path.parent} is on a file system without locks; start no second run there.")
            raise
        patience = here if host == socket.gethostname() else elsewhere
        if time.monotonic() > start + patience:
            raise UserError(
                f"another process trains in {path.parent} (on {host or 'a machine that did not tell'}, process "
                f"{pid or '?'}): wait for it, end it, or choose another run_dir."
            )
        if not told:
            tell(f"waiting for {path}, which {host or 'another machine'} holds (at most {patience:.0f} s)")
        told = True
        time.sleep(1)


def _holder(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8").strip()
    return ""
