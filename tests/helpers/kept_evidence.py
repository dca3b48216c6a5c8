"""Folders of tools/compare.py that hold a table alone, for tools/evidence.py to keep."""

from __future__ import annotations

import json

from tools.trials.evidence import kept

LINEAR, KNN = kept.METRICS[0]


def a_line(row, linear, published=None, curve=(10.0, 20.0), first=0):
    """A row of table.json with these values of seeds first, first + 1, ...; its k-NN accuracy along the run."""
    seeds = list(range(first, first + len(linear)))
    readings = {name: {"values": linear, "seeds": seeds} for name in (LINEAR, KNN)}
    curves = {str(seed): {"epoch": [1.0, 2.0], "k-NN top-1": list(curve)} for seed in seeds}
    return {"row": row, "readings": readings, "curves": curves, "errors": {}, "published": published}


def a_comparison(folder, *lines, setting="A setting."):
    """A folder of tools/compare.py that holds its table alone."""
    folder.mkdir()
    (folder / "table.json").write_text(json.dumps({"setting": setting, "rows": list(lines)}))
    return folder
