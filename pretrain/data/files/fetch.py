"""What a URL gives, through fsspec: how long it is, a part of it, all of it. A server that fails is asked again."""

from __future__ import annotations

import errno
import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pretrain.runtime.errors import UserError
from pretrain.runtime.printable import say, shortened
from pretrain.runtime.urls import BUSY, FIRST, WEB, hide, reveal, split

T = TypeVar("T")
WAITS = (*FIRST, 8.0, 16.0, 32.0, *(60.0,) * 4)  # and of one that has answered before: five minutes
SILENCE = 30.0  # seconds without a byte after which a server of the web is given up for this try
SIGNS = ("ETag", "etag", "Last-Modified", "LastModified", "last_modified", "mtime", "md5Hash", "created")
NONE = "NoSuch"  # in the names of errors of object stores, such as NoSuchBucket
GONE, REFUSED = (404, 410), (401, 403)
EXTRA = "pip install 'unigrad[remote]'"
PLAIN = {"Accept-Encoding": "identity"}  # a part of a compressed answer is no part of the file


class Missing(UserError):
    """There is no file at a URL."""


class Short(OSError):
    """A server that gave fewer or more bytes than it had promised."""


class About(NamedTuple):
    """size: bytes. version: a text that changes with them. parts: whether a part can be asked for."""

    size: int
    version: str
    parts: bool


def about(name: str, waits: tuple[float, ...]) -> About:
    """What a server says of the file at a URL.

    Args: name, the URL, without its secrets. waits, seconds before each further try.

    Raises:
        UserError: it is not there, may not be read, does not say how long it is, or does not answer.
    """

    def ask(system: Any, path: str) -> About:
        """One try; what fsspec kept of an earlier answer would hide that the file has changed."""
        system.invalidate_cache()
        told = system.info(path)
        if told.get("type") == "directory":
            raise Missing(f"{name} is a folder: give a file, or a pattern such as {name.rstrip('/')}/*.tar.")
        if told.get("size") is None:
            raise UserError(f"the server of {name} does not say how long it is: download it, and give the file.")
        parts = told.get("partial", True) and (told["size"] < 2 or not _of_web(name) or _gives_parts(system, path))
        return About(int(told["size"]), " ".join(str(told[sign]) for sign in SIGNS if told.get(sign)), bool(parts))

    return _patiently(name, ask, waits)


def _gives_parts(system: Any, path: str) -> bool:
    """Whether a server of the web heeds ranges: asked for one byte, it gives one."""
    with system.open(path, block_size=0, headers={**PLAIN, "Range": "bytes=0-0"}) as file:
        first = file.read(2)
        return len(first) + len(file.read(1) if len(first) == 1 else b"") == 1


def part(name: str, begin: int, end: int) -> bytes:
    """The bytes from `begin` to `end` of the file at a URL. Raises as of `about`."""

    def ask(system: Any, path: str) -> bytes:
        """One try; fewer bytes than were asked for are a broken answer, which is asked for again."""
        data: bytes = system.cat_file(path, start=begin, end=end, **_headers(name))  # named, for not all have one order
        if len(data) != end - begin:
            raise Short(errno.EIO, f"{len(data)} bytes came of {end - begin}")
        return data

    return _patiently(name, ask, WAITS)


def whole(name: str, waits: tuple[float, ...]) -> bytes:
    """All bytes of the file at a URL. Args and errors as of `about`."""

    def ask(system: Any, path: str) -> bytes:
        """One try."""
        data: bytes = system.cat_file(path, **_headers(name))
        return data

    return _patiently(name, ask, waits)


def download(name: str, size: int, to: Path) -> None:
    """Write the file at a URL over one of `size` bytes. Raises as of `about`."""

    def ask(system: Any, path: str) -> None:
        """One try, which begins at the first byte again."""
        with open(to, "r+b") as into:
            system.get_file(path, into, **_headers(name))
            if (came := into.tell()) != size:
                raise Short(errno.EIO, f"{came} bytes came of {size}")

    _patiently(name, ask, WAITS)


def matching(pattern: str) -> list[str]:
    """The URLs that a pattern with * and ? matches, sorted. Raises as of `about`."""
    if split(pattern)[1]:
        raise UserError(f"{pattern} has a query, so its files cannot be listed: name them as in x-{{000..146}}.tar.")

    def ask(system: Any, path: str) -> list[str]:
        return sorted(hide(system.unstrip_protocol(one)) for one in system.glob(path))

    return _patiently(pattern, ask, FIRST)


def _of_web(name: str) -> bool:
    return name.partition("://")[0].lower() in WEB


def _headers(name: str) -> dict[str, Any]:
    return {"headers": PLAIN} if _of_web(name) else {}


def _patiently(name: str, ask: Callable[[Any, str], T], waits: tuple[float, ...]) -> T:
    """What `ask` returns of a file system and a path in it; errors that may pass are met by asking again later.

    Raises:
        UserError: in one sentence, once all waits are over, or at once where no waiting helps.
    """
    for tried, wait in enumerate((*waits, None), 1):
        try:
            return ask(*_system(name))
        except UserError:
            raise
        except Exception as error:  # each client of fsspec has its own
            cause = _cause(error)
            if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EROFS, errno.EDQUOT):
                raise cause from error
            _refuse(name, cause)
            if wait is None:
                raise UserError(
                    f"{name} has not answered at {tried} tries ({_told(cause)}): look at the server and the network; "
                    "what is written is whole, and the same command goes on from it."
                ) from error
            if tried == 2:
                say(f"note: {name} does not answer ({_told(cause)}), and is asked again", sys.stderr)
        time.sleep(wait)
    raise AssertionError("the last try returns or raises")


def _system(name: str) -> tuple[Any, str]:
    """The file system of a URL and the path in it; fsspec keeps one for each process."""
    url = reveal(name)
    try:
        fsspec = importlib.import_module("fsspec")
        options: dict[str, Any] = {}
        if _of_web(name):
            aiohttp = importlib.import_module("aiohttp")
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=SILENCE, sock_read=SILENCE)
            options["client_kwargs"] = {"trust_env": True, "timeout": timeout}  # ~/.netrc, and proxies
        system, path = fsspec.core.url_to_fs(url, **options)
        return system, path
    except ImportError as error:
        if error.name in ("fsspec", "aiohttp"):
            raise UserError(f"{name} is read by {error.name}, which is not installed: {EXTRA}.") from error
        raise UserError(f"{name} cannot be read: {shortened(str(error), 200).rstrip('.')}.") from error
    except ValueError as error:
        scheme = name.partition("://")[0]
        raise UserError(f"{name} is not of a protocol that fsspec knows ({scheme}): correct it.") from error


def _cause(error: BaseException) -> BaseException:
    """What is behind an error; fsspec takes every failure to ask about a file of the web for a missing one."""
    return error.__cause__ if isinstance(error, FileNotFoundError) and error.__cause__ else error


def _refuse(name: str, error: BaseException) -> None:
    """Raise where asking again would not help."""
    status = getattr(error, "status", None) or getattr(error, "code", None)
    if isinstance(error, (FileNotFoundError, IsADirectoryError)) or status in GONE or NONE in type(error).__name__:
        raise Missing(f"{name} does not exist: correct the URL.") from error
    if isinstance(error, PermissionError) or status in REFUSED or "Credential" in type(error).__name__:
        raise UserError(
            f"{name} may not be read ({_told(error)}): give this user the right to, through the environment or the "
            "files that its client reads (docs/data.md)."
        ) from error
    if isinstance(status, int) and 400 <= status < 500 and status not in BUSY:
        raise UserError(
            f"{name} cannot be read ({_told(error)}): see whether it has changed, and correct it."
        ) from error
    if isinstance(error, (TypeError, AttributeError, NotImplementedError, AssertionError)):
        raise error  # a defect, or a client that cannot do this


def _told(error: BaseException) -> str:
    """An error in words, never with a URL, which may hold secrets."""
    status = getattr(error, "status", None) or getattr(error, "code", None)
    if isinstance(error, Short):
        return str(error.strerror)
    return f"status {status}" if isinstance(status, int) else type(error).__name__
