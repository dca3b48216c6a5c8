"""A tracker gets every line once, and neither its slowness nor its faults reach the run."""

from __future__ import annotations

import dataclasses
import json
import threading
import time

import pytest

from pretrain.config import TRACKERS, Config, load
from pretrain.engine.monitor import tracker as protocol
from pretrain.engine.monitor.trackers import find
from pretrain.engine.monitor.tracking import WAITING, Client, Record, Tracking, check_trackers, joined, read_record
from pretrain.runtime.errors import UserError
from pretrain.runtime.lock import exclusive
from pretrain.runtime.options import check

SOON = 60.0  # seconds, of which a healthy tracker takes none


class Notebook:
    """A client that writes down what it is told, and fails or waits where it is asked to."""

    def __init__(self, fails="", waits=None):
        self.fails, self.waits, self.told = fails, waits, []

    def _note(self, *what):
        if self.waits:
            self.waits.wait()
        if what[0] == self.fails:
            raise ConnectionError("the server is gone")
        self.told.append(what)

    def start(self, place):
        self._note("start", place.step, dict(place.identity))
        return {"id": place.identity.get("id") or "one"}

    def scalars(self, step, values):
        self._note("scalars", step, values)

    def images(self, step, pictures):
        self._note("images", step, pictures)

    def artefact(self, path):
        self._note("artefact", path.name)

    def finish(self, ended):
        self._note("finish", ended)

    def steps(self):
        return [what[1] for what in self.told if what[0] == "scalars"]


def begun(folder, *notebooks, start=0):
    """Trackers of a run that goes on from step `start`, one for each notebook."""
    record = Record(folder)
    clients = []
    for number, notebook in enumerate(notebooks):
        entry = record.entries.get(str(number), {})
        identity = {"id": entry["id"]} if "id" in entry else {}
        kind = protocol.Kind("Notebook", "", lambda notebook=notebook: notebook)
        clients.append(Client(str(number), kind, protocol.Place(folder, "a/b", "", {}, 0, identity), record))
    tracking = Tracking(clients)
    tracking.begin(folder / "metrics.jsonl", start)
    return tracking


def line(step, loss=0.5):
    return {"step": step, "loss": loss, "time": float(step), "images_per_second": time.monotonic()}


def log(folder, lines):
    (folder / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))


def test_a_run_has_one_identity_however_often_it_starts(tmp_path):
    first, second = Notebook(), Notebook()
    for notebook, steps in ((first, (1, 2)), (second, (3,))):
        tracking = begun(tmp_path, notebook, start=steps[0] - 1)
        for step in steps:
            tracking.line(line(step))
        tracking.close("stopped" if notebook is first else "done")
    assert first.told[0] == ("start", 0, {}) and first.told[-1] == ("finish", "stopped")
    assert second.told[0] == ("start", 2, {"id": "one"}) and second.told[-1] == ("finish", "done")
    assert first.steps() + second.steps() == [1, 2, 3]
    assert read_record(tmp_path) == {"0": {"id": "one", "told": 3}}


def test_steps_that_are_done_again_are_told_again_only_where_they_differ(tmp_path):
    log(tmp_path, [line(step) for step in range(1, 7)])
    Record(tmp_path).put("0", {"id": "one", "told": 6})
    notebook = Notebook()
    tracking = begun(tmp_path, notebook, start=2)
    for step in range(3, 8):
        tracking.line(line(step, loss=0.25 if step == 5 else 0.5))
    tracking.close("done")
    assert notebook.steps() == [5, 7]


def test_what_a_tracker_was_not_told_is_made_up_for_at_the_next_start(tmp_path):
    log(tmp_path, [line(step) for step in range(1, 5)])
    (tmp_path / "views.png").write_bytes(b"")
    Record(tmp_path).put("0", {"id": "one", "told": 2})
    behind, new = Notebook(), Notebook()
    tracking = begun(tmp_path, behind, new, start=4)
    tracking.line(line(5))
    tracking.close("done")
    assert behind.steps() == [3, 4, 5]
    assert new.steps() == [1, 2, 3, 4, 5] and [what[:2] for what in new.told if what[0] == "images"] == [("images", 1)]


@pytest.mark.parametrize("call", ["start", "scalars", "images", "artefact", "finish"])
def test_a_tracker_that_fails_warns_once_and_the_others_go_on(tmp_path, capsys, call):
    broken, whole = Notebook(fails=call), Notebook()
    tracking = begun(tmp_path, broken, whole)
    log(tmp_path, [])
    for step in (1, 2, 3):
        tracking.line(line(step))
        tracking.images(step, {"views": tmp_path / "views.png"})
        tracking.artefact(tmp_path / "metrics.jsonl")
    tracking.close("done")
    told = capsys.readouterr().out
    assert told.count("warning: the tracker 0 has failed (the server is gone)") == 1 == told.count("warning")
    assert whole.steps() == [1, 2, 3] and whole.told[-1] == ("finish", "done")


def test_a_tracker_that_never_answers_keeps_nobody_waiting(tmp_path, capsys):
    never = threading.Event()
    tracking = begun(tmp_path, Notebook(waits=never))
    for step in range(2 * WAITING):
        tracking.line(line(step))
    assert tracking.clients[0].left_out >= WAITING - 2
    tracking.clients[0].close("done", time.monotonic())
    told = capsys.readouterr().out
    assert f"is {WAITING} calls behind" in told and "still has to send something, which is given up" in told
    assert told.count("warning") == 2
    never.set()
    tracking.clients[0].thread.join(SOON)
    assert not tracking.clients[0].thread.is_alive()


def test_a_run_that_has_told_nothing_asks_nothing_of_its_trackers(tmp_path):
    notebook = Notebook()
    begun(tmp_path, notebook).close("failed")
    assert notebook.told == [] and read_record(tmp_path) == {}


@pytest.mark.parametrize("content", ["", "[]", '{"wandb": 3}', "{" * 10**5])
def test_a_damaged_record_begins_anew(tmp_path, content):
    (tmp_path / "trackers.json").write_text(content)
    assert read_record(tmp_path) == {}
    with joined(tmp_path) as tracking:
        assert not tracking.clients


def test_while_a_run_goes_on_a_tracker_of_one_process_is_left_out_with_a_note(tmp_path, capsys):
    known = {"wandb": {"id": "abc", "project": "p"}, "tensorboard": {"folder": "tensorboard"}}
    (tmp_path / "trackers.json").write_text(json.dumps(known))
    with exclusive(tmp_path / ".lock", lambda _: 0.0), joined(tmp_path) as tracking:
        assert [client.name for client in tracking.clients] == ["tensorboard"]
    assert "in progress: the tracker wandb is not told; the result is in its file.\n" in capsys.readouterr().out
    with joined(tmp_path) as tracking:
        assert {client.name for client in tracking.clients} == set(known)


def configured(*words):
    return load(Config, None, list(words)).run


def test_an_unknown_tracker_is_refused_with_the_nearest_name():
    assert set(TRACKERS) == {"tensorboard", "wandb", "mlflow", "trackio"}
    with pytest.raises(UserError, match=r"run.trackers=\['wandbb'\] is not known \(did you mean wandb\?\)"):
        check(configured("run.trackers=[wandbb]"), "run.")


def test_a_project_that_no_tracker_takes_is_refused():
    with pytest.raises(UserError, match="run.tracker_project=a/b is no name"):
        check_trackers(configured("run.tracker_project=a/b"))
    check_trackers(configured("run.tracker_project=UniGrad on ImageNet", "run.trackers=[]"))


def test_a_tracker_without_its_library_is_refused_by_the_name_of_its_extra(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "nowhere_installed").mkdir()  # as W&B makes a folder `wandb` wherever it works
    for module in ("nowhere_installed", "not_even_a_folder"):
        kind = dataclasses.replace(find("wandb"), module=module)
        with pytest.raises(UserError, match=rf"run.trackers=wandb needs {module}, .*: pip install 'unigrad\[wandb\]'"):
            protocol.check_installed("wandb", kind)


def test_a_library_that_cannot_be_imported_is_told_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken_client.py").write_text("raise RuntimeError('built for another Python')")
    kind = dataclasses.replace(find("wandb"), module="broken_client")
    with pytest.raises(UserError, match=r"broken_client cannot be imported \(built for another Python\)"):
        protocol.import_client("wandb", kind)
