"""What the trackers' own clients have written, read without ours."""

from __future__ import annotations

import struct

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
