"""The trackers of a run: each has a bounded queue and a thread, so that none slows the run or ends it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pretrain import config
from pretrain.engine.monitor.metrics_file import FILE as METRICS
from pretrain.engine.monitor.metrics_file import lines_of
from pretrain.engine.monitor.tracker import (
    Ended,
    Identity,
    Kind,
    Place,
    Tracker,
    check_installed,
    check_project,
    import_client,
)
from pretrain.engine.monitor.trackers import find
from pretrain.runtime import distributed, provenance
from pretrain.runtime.errors import Lost, Stopped
from pretrain.runtime.files import write_atomically
from pretrain.runtime.lock import holder_of
from pretrain.runtime.printable import say, shortened

FILE = "trackers.json"  # in the run folder: by tracker its identity, and the last step that it was told ("told")
TOLD = "told"
WAITING = 1000  # calls that a tracker may be behind; further ones are left out
VIEWS = "views.png"
FAREWELL = 30.0  # seconds that all trackers of a run have together to send what is left
UNTOLD = ("step", "steps", "batch_size", "images", "time")  # of a line, what is no curve
OF_THE_MACHINE = ("images_per_second", "data_wait", "time")  # what differs where a step is done again
Call = Callable[[Tracker], object]
Line = Mapping[str, float]


class Record:
    """RUN/trackers.json, which several threads write."""

    def __init__(self, folder: Path) -> None:
        self.path, self.lock = folder / FILE, threading.Lock()
        self.entries = read_record(folder)

    def put(self, name: str, entry: Mapping[str, Any]) -> None:
        """Keep what is known of a tracker from now on."""
        with self.lock:
            self.entries[name] = {**self.entries.get(name, {}), **entry}
            text = json.dumps(self.entries, indent=2) + "\n"
            write_atomically(self.path, lambda temporary: temporary.write_text(text, encoding="utf-8"), flush=False)


def read_record(folder: Path) -> dict[str, dict[str, Any]]:
    """What RUN/trackers.json says, by tracker; nothing where it is missing or damaged, which then begins anew."""
    try:
        written = json.loads((folder / FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    entries = written.items() if isinstance(written, dict) else ()
    return {name: entry for name, entry in entries if isinstance(entry, dict)}


class Client:
    """A tracker behind its queue. Its thread starts with the first call, when the workers are forked already."""

    def __init__(self, name: str, kind: Kind, place: Place, record: Record) -> None:
        self.name, self.kind, self.place, self.record = name, kind, place, record
        self.calls: queue.Queue[Call | None] = queue.Queue(WAITING)
        self.thread = threading.Thread(target=self._work, name=f"tracker {name}", daemon=True)
        self.told: int = record.entries.get(name, {}).get(TOLD, 0)  # before this start
        self.earlier: list[Call] = []  # what is made up for once the tracker has started
        self.ended: Ended = "done"
        self.failed, self.left_out = False, 0

    def call(self, call: Call) -> None:
        """Have `call` made by the tracker's thread, in order; never waits."""
        if self.failed:
            return
        if self.thread.ident is None:
            self.thread.start()
        try:
            self.calls.put_nowait(call)
        except queue.Full:
            self.left_out += 1
            if self.left_out == 1:
                self._tell(f"is {WAITING} calls behind: further ones are left out")

    def scalars(self, step: int, values: Line) -> None:
        """Have numbers told; the record then says so."""
        self.call(self.telling(step, values))

    def telling(self, step: int, values: Line) -> Call:
        """The call that tells numbers after a step."""

        def tell(tracker: Tracker) -> None:
            tracker.scalars(step, values)
            if not self.place.joins:
                self.record.put(self.name, {TOLD: step})

        return tell

    def close(self, ended: Ended, until: float) -> None:
        """Let the thread end, and wait for it until `until` (time.monotonic) at most."""
        if self.thread.ident is None:
            return
        self.ended = ended
        with contextlib.suppress(queue.Full):
            self.calls.put(None, timeout=max(0.0, until - time.monotonic()))
        self.thread.join(max(0.0, until - time.monotonic()))
        if self.thread.is_alive() and not self.failed:
            self.failed = True
            self._tell("still has to send something, which is given up")

    def _work(self) -> None:
        try:
            if self.place.joins:  # of a run it was asked before that began
                check_installed(self.name, self.kind)
                self.kind.check(self.place)
            tracker = self.kind.make()
            identity = tracker.start(self.place)
            if not self.place.joins:
                self.record.put(self.name, identity)
                if url := identity.get("url"):
                    _say(f"{self.kind.title}: {url}")
            for call in self.earlier:
                call(tracker)
            while (now := self.calls.get()) is not None:
                if self.failed:  # given up, and slower than anybody waits
                    return
                now(tracker)
            tracker.finish(self.ended)
        except (Exception, SystemExit) as error:  # whatever a library raises, the run goes on
            if not self.failed:
                self.failed = True
                self._tell(f"has failed ({shortened(' '.join(str(error).split()) or type(error).__name__, 300)})")

    def _tell(self, what: str) -> None:
        rest = "the result is in its file" if self.place.joins else f"{self.place.folder / METRICS} has all curves"
        _say(f"warning: the tracker {self.name} {what}; {rest}.")


class Tracking:
    """All trackers of a run, on rank 0; on the other ranks none.

    A line that a tracker was told before the run went back to a checkpoint is not told again if it is the same. Lines
    that one was not told, for it is new to the run or had failed, are told at its start.
    """

    def __init__(self, clients: Sequence[Client] = ()) -> None:
        self.clients = clients
        self.undone: dict[int, Line] = {}  # lines of steps that are done again

    def begin(self, path: Path, start: int) -> None:
        """Look into the lines at `path`, of which those after step `start` are written again; before any other call."""
        for client in self.clients:
            client.place = dataclasses.replace(client.place, step=start)
        behind = [client for client in self.clients if not client.kind.forgets]
        for line in lines_of(path) if behind else ():
            if line["step"] > start:
                self.undone[int(line["step"])] = line
            for client in behind:
                if client.told < line["step"] <= start:
                    client.earlier.append(client.telling(int(line["step"]), _curves(line)))
        for client in behind:
            if start and not client.place.identity:
                client.earlier.append(_views_of(client.place.folder))

    def line(self, line: Line) -> None:
        """Tell a line of metrics."""
        step = int(line["step"])
        before = self.undone.get(step)
        again = before is not None and _compared(before) == _compared(line)
        for client in self.clients:
            if not (again and step <= client.told and not client.kind.forgets):
                client.scalars(step, _curves(line))

    def numbers(self, step: int, values: Line) -> None:
        """Tell numbers that are no line of metrics, such as a result."""
        for client in self.clients:
            client.scalars(step, values)

    def images(self, step: int, pictures: Mapping[str, Path]) -> None:
        """Tell of pictures, by name; the files stay."""
        for client in self.clients:
            client.call(lambda tracker: tracker.images(step, pictures))

    def artefact(self, path: Path) -> None:
        """Tell of a file, if it is there."""
        for client in self.clients if path.is_file() else ():
            client.call(lambda tracker: tracker.artefact(path))

    def close(self, ended: Ended) -> None:
        """Say how the run has ended, and wait for all trackers together."""
        until = time.monotonic() + FAREWELL
        for client in self.clients:
            client.close(ended, until)


def check_trackers(run: config.Run) -> None:
    """Refuse trackers whose libraries are not there; nothing is imported.

    Raises:
        UserError: naming the extra; or a project that no tracker takes.
    """
    check_project(run.tracker_project)
    for name in run.trackers:
        check_installed(name, find(name))


def trackers_of(cfg: config.Config) -> Tracking:
    """The trackers of a run, once their libraries and servers are seen to take it.

    Raises:
        UserError: on every rank: a library that cannot be imported, no key, or one that its server refuses.
    """
    if distributed.rank() > 0:
        distributed.on_rank_0(lambda: None)
        return Tracking()
    clients: list[Client] = []
    record = Record(Path(cfg.run_dir))

    def ready() -> None:
        """Refuse what a tracker cannot do, before any of them is told something."""
        for name in dict.fromkeys(cfg.run.trackers):
            kind, place = find(name), _place(cfg, record.entries.get(name, {}))
            import_client(name, kind)
            kind.check(place)
            kind.ask(place)
            clients.append(Client(name, kind, place, record))

    distributed.on_rank_0(ready)
    return Tracking(clients)


@contextlib.contextmanager
def joined(folder: Path) -> Iterator[Tracking]:
    """The trackers that know the run in `folder`, for what comes of its trunk; it goes into the same run of each.

    Nothing is asked of them before, and what they refuse is one warning. While the run goes on, those are left out
    that take one process at a time.
    """
    record, folder = Record(folder), folder.resolve()
    running = holder_of(folder / ".lock") is not None
    clients = []
    for name in (one for one in record.entries if one in config.TRACKERS):
        if running and find(name).alone:
            _say(f"note: {folder} is in progress: the tracker {name} is not told; the result is in its file.")
            continue
        place = Place(folder, run_name(folder), "", {}, 0, _identity(record.entries[name]), joins=True)
        clients.append(Client(name, find(name), place, record))
    tracking = Tracking(clients)
    try:
        yield tracking
    finally:
        tracking.close("done")


def _identity(entry: Mapping[str, Any]) -> Identity:
    return {key: str(value) for key, value in entry.items() if key != TOLD}


def _place(cfg: config.Config, entry: Mapping[str, Any]) -> Place:
    folder = Path(cfg.run_dir).resolve()
    written = {"commit": provenance.commit(), "command": provenance.as_typed(), **dataclasses.asdict(cfg)}
    return Place(folder, run_name(folder), cfg.run.tracker_project, written, 0, _identity(entry))


def run_name(folder: Path) -> str:
    """A run's name in the trackers: those of its folder and of the folder around it."""
    return "/".join(folder.resolve().parts[-2:])


def ended_by(error: BaseException | None) -> Ended:
    """How a run ended that left with `error`."""
    if error is None:
        return "done"
    return "stopped" if isinstance(error, (Stopped, Lost, KeyboardInterrupt)) else "failed"


def _views_of(folder: Path) -> Call:
    """The call that tells of the views of the first step, where they were drawn."""
    path = folder / VIEWS
    return lambda tracker: tracker.images(1, {path.stem: path}) if path.is_file() else None


def _curves(line: Line) -> dict[str, float]:
    return {name: value for name, value in line.items() if name not in UNTOLD}


def _compared(line: Line) -> dict[str, float]:
    return {name: value for name, value in line.items() if name not in OF_THE_MACHINE}


def _say(sentence: str) -> None:
    """Print one line without breaking the progress bar."""
    with tqdm.external_write_mode():
        say(sentence)
