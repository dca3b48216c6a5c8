"""What an experiment tracker is: the five things that a run asks of it, and what its file says of itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

from pretrain.runtime.errors import UserError

Identity = dict[str, str]  # what a tracker needs to find its run again, and where people see it ("url")
Ended = Literal["done", "stopped", "failed"]  # stopped: the same command goes on
PATIENCE = 20  # seconds for an answer of a server
REFUSED = (401, 403)  # states of HTTP: no, or other, credentials
PROJECT = "unigrad"  # where neither run.tracker_project nor the client's own variable says another
NO_PROJECT = re.compile(r"[/\\#?%:]|.{129}")  # what no client takes in the name of a project


@dataclass(frozen=True)
class Place:
    """A run as a tracker is told of it.

    folder: of the run. name: as people read it. project: empty where the client's own variable decides. config: all
    options, by section. step: steps done before. identity: what `start` returned when the run began; {} then. joins:
    whether this is no start of the run, but a result of its trunk.
    """

    folder: Path
    name: str
    project: str
    config: Mapping[str, Any]
    step: int
    identity: Mapping[str, str]
    joins: bool = False


class Tracker(Protocol):
    """The client of one run. All calls come from one thread; what they raise ends the tracker and not the run."""

    def start(self, place: Place) -> Identity:
        """Begin the run, or go on with the one that `place.identity` names."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers after `step` steps, by name; names may hold slashes."""

    def images(self, step: int, pictures: Mapping[str, Path]) -> None:
        """Picture files (PNG) after `step` steps, by name."""

    def artefact(self, path: Path) -> None:
        """A file of the run."""

    def finish(self, ended: Ended) -> None:
        """Send what is left and say how the run ended."""


def _nothing(place: Place) -> None:
    """A client that needs no key and no server."""


@dataclass(frozen=True)
class Kind:
    """What the file of a tracker says of it.

    title: its name as people write it. help: a clause. make: the client. module: the library that is imported, empty
    for one that always is there; extra: of setup.py. check: refuses what is known without a network, such as a missing
    key; ask: asks the server whether it takes the key, and says nothing where there is no answer. forgets: whether
    `start` deletes what was told after `place.step`, so that nothing has to be held back when steps are done again.
    alone: whether one process at a time may tell of a run.
    """

    title: str
    help: str
    make: Callable[[], Tracker]
    module: str = ""
    extra: str = ""
    check: Callable[[Place], None] = _nothing
    ask: Callable[[Place], None] = _nothing
    forgets: bool = False
    alone: bool = False


def check_installed(name: str, kind: Kind) -> None:
    """Refuse a tracker whose library is not there, without importing it.

    Raises:
        UserError: naming the extra.
    """
    if not kind.module:
        return
    spec = find_spec(kind.module)
    if spec is None or spec.origin is None:  # a folder of that name, as wandb makes one, is no library
        raise UserError(
            f"run.trackers={name} needs {kind.module}, which is not installed: pip install 'unigrad[{kind.extra}]', or "
            "leave it out."
        )


def import_client(name: str, kind: Kind) -> None:
    """Import the library in this thread, for workers that are forked while another imports would wait for ever.

    Raises:
        UserError: it is there and cannot be imported.
    """
    try:
        if kind.module:
            import_module(kind.module)
    except Exception as error:  # whatever a library raises while it is imported
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"run.trackers={name}: {kind.module} cannot be imported ({reason}): pip install -U "
            f"'unigrad[{kind.extra}]', or leave it out."
        ) from error


def check_project(project: str) -> None:
    """Refuse the name of a project that some client would.

    Raises:
        UserError: a character that is not taken, or too long.
    """
    if NO_PROJECT.search(project):
        raise UserError(
            f"run.tracker_project={project} is no name for a project: leave out / \\ # ? % : and use at most 128 "
            "letters."
        )


def is_refused(ask: Callable[..., Any], says_no: Callable[[Any], bool] = lambda _: False) -> bool:
    """Whether a server says that it does not take the credentials; one that does not answer says nothing.

    Args: ask, a request of the library `requests` that lacks its timeout. says_no: whether the JSON of an answer does.
    """
    try:
        answer = ask(timeout=PATIENCE)
        return answer.status_code in REFUSED or says_no(answer.json())
    except (OSError, ValueError, LookupError, TypeError):  # nothing, or no answer of such a server
        return False
