"""The report's curves in the trackers of the runs that it is of."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from pretrain.engine.monitor.tracking import FILE, joined
from transfer.report.collect.files import PretrainingRun
from transfer.report.render.charts import png_file
from transfer.report.sections.training import PANELS, charts


def tell_curves(runs: Sequence[PretrainingRun]) -> list[Path]:
    """Show each run's own curves in its trackers, as pictures report/NAME at its last step.

    Returns: the folders of the runs that have trackers and curves.
    """
    told = []
    for run in runs:
        drawn = [chart for panels in PANELS.values() for chart in charts([run], panels)] if run.lines else []
        if not drawn or not (run.folder / FILE).is_file():
            continue
        with tempfile.TemporaryDirectory() as folder:
            pictures = {chart.key: Path(folder, f"{chart.key}.png") for chart in drawn}
            for chart in drawn:
                pictures[chart.key].write_bytes(png_file(chart))
            with joined(run.folder) as tracking:  # which waits until they are read
                tracking.images(int(run.lines[-1]["step"]), {f"report/{name}": one for name, one in pictures.items()})
        told.append(run.folder)
    return told
