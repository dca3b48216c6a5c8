"""The report's curves as pictures in the trackers of the runs that it is of."""

from __future__ import annotations

import io
import json
from pathlib import Path

from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from transfer.report.collect.files import PretrainingRun
from transfer.report.tracked import tell_curves


def a_run(folder: Path) -> PretrainingRun:
    folder.mkdir()
    lines = tuple({"step": step, "epoch": step / 2, "lr": 0.1 * step} for step in (1, 2, 3))
    return PretrainingRun(folder, folder.name, {}, lines, "")


def test_each_run_with_trackers_gets_its_own_curves_in_light_colours_at_its_last_step(tmp_path: Path) -> None:
    tracked, other = a_run(tmp_path / "tracked"), a_run(tmp_path / "other")
    (tracked.folder / "trackers.json").write_text(json.dumps({"tensorboard": {"folder": "tensorboard"}}))
    assert tell_curves([tracked, other]) == [tracked.folder]
    assert not list(other.folder.iterdir())
    events = EventAccumulator(str(tracked.folder / "tensorboard"))
    events.Reload()
    assert events.Tags()["images"] == ["report/lr"]
    (shown,) = events.Images("report/lr")
    assert shown.step == 3
    with Image.open(io.BytesIO(shown.encoded_image_string)) as picture:
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
        assert picture.getpixel((0, 0))[:3] == (255, 255, 255)
    assert (0x1C, 0x69, 0xB0) in colours  # --s0 of the page, by which the curve is drawn
