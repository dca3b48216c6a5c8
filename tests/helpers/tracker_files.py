"""What the trackers' own clients have written, read without ours."""

from __future__ import annotations

import collections
import contextlib
import re
import sqlite3
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

BLOCK = 32 * 1024  # of LevelDB's log format, which .wandb files have after seven bytes
WHOLE, FIRST, LAST = 1, 2, 4


def wandb_records(path):
    """The records of a .wandb file, in W&B's own protocol buffers."""
    from wandb.proto import wandb_internal_pb2

    content, at, record = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        if (left := BLOCK - at % BLOCK) < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        part = content[at + 7 : at + 7 + length]
        at += 7 + length
        record = part if kind in (WHOLE, FIRST) else record + part
        if kind in (WHOLE, LAST):
            yield wandb_internal_pb2.Record.FromString(record)


def wandb_history(folder):
    """For each start of a run that W&B keeps offline in `folder`: its id, and the rows of its history."""
    starts = []
    for path in sorted(folder.glob("offline-run-*/*.wandb")):
        records = list(wandb_records(path))
        (name,) = {record.run.run_id for record in records if record.HasField("run")}
        items = [record.history.item for record in records if record.HasField("history")]
        starts.append((name, [{"/".join(one.nested_key) or one.key: one.value_json for one in row} for row in items]))
    return starts


def board_curve(folder, name):
    """The steps of a curve of TensorBoard, as its own reader shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return [point.step for point in events.Scalars(name)]


@dataclass(frozen=True)
class Told:
    """What a tracker holds of a run folder.

    runs: ids of all runs of that folder's name. numbers: by name every (step, value), in the order of the steps.
    pictures: by name the steps of each. files: the names of those that it was given.
    """

    runs: set[str] = field(default_factory=set)
    numbers: dict[str, list[tuple[int, float]]] = field(default_factory=lambda: collections.defaultdict(list))
    pictures: dict[str, list[int]] = field(default_factory=lambda: collections.defaultdict(list))
    files: set[str] = field(default_factory=set)


def tensorboard_told(run_dir: Path, _: Mapping[str, str]) -> Told:
    """By the reader of TensorBoard itself."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run_dir / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    told = Told({"tensorboard"})
    for name in events.Tags()["scalars"]:
        told.numbers[name] += [(point.step, point.value) for point in events.Scalars(name)]
    for name in events.Tags()["images"]:
        told.pictures[name] += [picture.step for picture in events.Images(name)]
    return told


def wandb_told(run_dir: Path, _: Mapping[str, str]) -> Told:
    """By what would be sent: all starts of the run that are kept offline in the run folder."""
    starts = wandb_history(run_dir / "wandb")
    told = Told({of for of, _ in starts})
    for row in (row for _, history in starts for row in history):
        for name in row:
            if name.endswith("/path"):
                told.pictures[name.removesuffix("/path")].append(int(row["step"]))
            with contextlib.suppress(ValueError):
                told.numbers[name].append((int(row["step"]), float(row[name])))
    kept = (run_dir / "wandb").glob(f"*/files/{run_dir.name}/**/*")
    told.files.update(path.name for path in kept if not path.is_dir())
    return told


def mlflow_told(run_dir: Path, record: Mapping[str, str]) -> Told:
    """By MLflow's own client, from where the record says."""
    from mlflow import MlflowClient

    client, called = MlflowClient(record["uri"]), "/".join(run_dir.parts[-2:])
    runs = client.search_runs([record["experiment"]], f"attributes.run_name = '{called}'")
    told = Told({run.info.run_id for run in runs})
    for run in runs:
        for name in run.data.metrics:
            told.numbers[name] += [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, name)]
        for file in client.list_artifacts(run.info.run_id, "images"):
            if picture := re.fullmatch(r"images/(.+)[%+]step[%+](\d+)[%+].*\.png", file.path):
                told.pictures[picture[1]].append(int(picture[2]))
        told.files.update(file.path for file in client.list_artifacts(run.info.run_id) if not file.is_dir)
    return told


def trackio_told(run_dir: Path, record: Mapping[str, str]) -> Told:
    """By trackio's own reader, and of files by its table."""
    from trackio.sqlite_storage import SQLiteStorage

    called = "-".join(run_dir.parts[-2:])
    told = Told({run for run in SQLiteStorage.get_runs(record["project"]) if run.startswith(called)})
    for row in SQLiteStorage.get_logs(record["project"], record["id"]):
        for name, value in row.items():
            if isinstance(value, dict) and "image" in str(value.get("_type")):
                told.pictures[name].append(row["step"])
            elif isinstance(value, int | float):
                told.numbers[name].append((row["step"], value))
    with contextlib.closing(sqlite3.connect(SQLiteStorage.get_project_db_path(record["project"]))) as table:
        names = [name for (name,) in table.execute("SELECT name FROM artifacts")]
    told.files.update(name.removeprefix(f"{record['id']}-") for name in names if name.startswith(record["id"]))
    return told


READERS: dict[str, Callable[[Path, Mapping[str, str]], Told]] = {
    "tensorboard": tensorboard_told,
    "wandb": wandb_told,
    "mlflow": mlflow_told,
    "trackio": trackio_told,
}
