"""The notebook: its cells run in their order, at toy size, and what it shows is of a whole run of these cells."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import numpy as np
import pytest

from helpers import tool_process
from helpers.repository import ROOT

NOTEBOOK = json.loads((ROOT / "docs" / "examples" / "two_minutes.ipynb").read_text(encoding="utf-8"))
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
TOY = "\nPICTURES, VALIDATION, EPOCHS = 128, 32, 2"


def run(command, **_):
    """`python -m unigrad NAME ...`, which an installation has, as tools/NAME.py in a process with the imports done."""
    python, _, _, name, *words = command
    return tool_process.run([python, str(ROOT / "tools" / f"{name}.py"), *words])


@pytest.mark.slow
def test_every_cell_runs_and_timm_gives_the_rows_that_were_written(tmp_path, monkeypatch):
    pytest.importorskip("timm")
    pytest.importorskip("sklearn", reason="the map needs scikit-learn")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    names: dict[str, object] = {}
    for cell in CODE:
        text = "".join(cell["source"]) + TOY * ("parameters" in cell["metadata"].get("tags", []))
        exec(text, names)
        names["subprocess"] = SimpleNamespace(run=run)
    assert set(names["accuracy"]) == {"initial", "trunk"} and len(names["measured"]) == 1
    np.testing.assert_allclose(names["rows"], np.load("runs/notebook/features.npy")[:8], atol=1e-4)
    with pytest.raises(RuntimeError, match="error: runs/absent is not a file"):
        names["unigrad"]("convert runs/absent x.pth --to timm")


def test_what_it_shows_is_of_one_run_of_all_cells_and_the_page_has_its_numbers():
    assert [cell["execution_count"] for cell in CODE] == [*range(1, len(CODE) + 1)]
    shown = [output for cell in CODE for output in cell["outputs"]]
    assert {output["output_type"] for output in shown} <= {"stream", "display_data", "execute_result"}
    text = "".join("".join(output.get("text", "")) for output in shown)
    before, after = re.search(r"k-NN top-1: (\S+) % untrained, (\S+) % pretrained", text).groups()
    assert float(after) > float(before)
    assert f"from {before} to {after} %" in (ROOT / "docs" / "examples.md").read_text(encoding="utf-8")
