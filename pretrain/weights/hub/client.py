"""huggingface_hub, and what it raises in sentences."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from pretrain.runtime.errors import REFUSED, UserError
from pretrain.runtime.printable import shortened
from pretrain.runtime.urls import BUSY, FIRST, hide

T = TypeVar("T")
EXTRA = "pip install 'unigrad[hub]'"
PATIENCE = 30.0  # seconds until a hub that says nothing counts as unreachable
LOG_IN = "run `hf auth login`, or set HF_TOKEN"


class Unreachable(UserError):
    """The hub does not answer, or must not be asked."""


def library(name: str) -> Any:
    """huggingface_hub; its bars of progress are drawn on terminals only.

    Args: name, what is wanted, for the sentence.

    Raises:
        UserError: it is not installed.
    """
    try:
        found = importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise UserError(f"{name} is read and written by huggingface_hub, which is not installed: {EXTRA}.") from error
    if not sys.stderr.isatty():
        importlib.import_module("huggingface_hub.utils").disable_progress_bars()
    return found


def patiently(name: str, ask: Callable[[], T], waits: tuple[float, ...] = FIRST) -> T:
    """What `ask` returns; where the hub is down or does not answer, it is asked again.

    Args:
        name: on the hub, for sentences.
        ask: one try.
        waits: seconds before each further one.

    Raises:
        UserError: as of `told`.
    """
    for wait in (*waits, None):
        try:
            with told(name):
                return ask()
        except Unreachable:
            if wait is None or _offline():
                raise
        time.sleep(wait)
    raise AssertionError("the last try returns or raises")


@contextlib.contextmanager
def told(name: str) -> Iterator[None]:
    """What the client raises in the body, in a sentence.

    Raises:
        UserError: there is no such name, it may not be read or written, or the token is missing or wrong.
        Unreachable: no network, a hub that is down, or HF_HUB_OFFLINE.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        _refuse(name, error)
        if isinstance(error.__cause__, Exception):  # of a part of an upload
            _refuse(name, error.__cause__)
        raise


def _refuse(name: str, error: Exception) -> None:
    """Raise in words what is no defect. Classes are told by name: they moved, and stood on other clients, over time."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    status = getattr(getattr(error, "response", None), "status_code", None)
    token = _has_token()
    if "GatedRepoError" in kinds:
        raise UserError(f"{name} is open to some only: ask for it at {_hub()}, and then {LOG_IN}.") from error
    if "RepositoryNotFoundError" in kinds:
        private = "this token may not read it" if token else "it is private and there is no token"
        raise UserError(f"{name} does not exist on {_hub()}, or {private}: correct the name, or {LOG_IN}.") from error
    if "RevisionNotFoundError" in kinds:
        raise UserError(f"{name}: there is no such revision; name a branch, a tag or a commit of it.") from error
    if kinds & {"LocalTokenNotFoundError"} or status in (401, 403):
        what = f"the token is not accepted (status {status})" if token else "there is no token"
        raise UserError(f"{_hub()} refuses {name}, since {what}: {LOG_IN}.") from error
    if "HFValidationError" in kinds:
        raise UserError(f"{name} is no name that a hub can have: {shortened(str(error), 200).rstrip('.')}.") from error
    if kinds & {"OfflineModeIsEnabled", "LocalEntryNotFoundError"} and _offline():
        raise Unreachable(
            f"{name} is not in the folder that huggingface_hub keeps, and HF_HUB_OFFLINE forbids to fetch it: fetch it "
            "where there is a network, or unset that."
        ) from error
    if isinstance(status, int) and 400 <= status < 500 and status not in BUSY:
        raise UserError(f"{_hub()} refuses {name} (status {status}): {_said(error)}.") from error
    lost = {"HfHubHTTPError", "TransportError", "RequestException", "ConnectionError", "LocalEntryNotFoundError"}
    lost |= {"JSONDecodeError", "InvalidURL"}  # what answers is no hub
    if kinds & lost and getattr(error, "errno", None) not in REFUSED:
        why = f"status {status}" if status else type(error.__cause__ or error).__name__
        raise Unreachable(
            f"{_hub()} cannot be reached for {name} ({why}): look at the network, its proxies and HF_ENDPOINT; what "
            "was fetched before is found by its commit, hf:USER/NAME@COMMIT."
        ) from error


def _said(error: Exception) -> str:
    """The hub's own reason."""
    said = getattr(error, "server_message", None) or "it gives no reason"
    return shortened(" ".join(str(said).split()), 200).rstrip(".")


def _hub() -> str:
    return hide(str(_constants().ENDPOINT))


def _offline() -> bool:
    return bool(_constants().HF_HUB_OFFLINE)


def _constants() -> Any:
    return importlib.import_module("huggingface_hub.constants")


def _has_token() -> bool:
    return bool(os.environ.get("HF_TOKEN") or importlib.import_module("huggingface_hub").get_token())
