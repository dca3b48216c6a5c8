"""Names of classes and folders may be anything: numbers, pictures and the report work, and show each as it is."""

from __future__ import annotations

import html
import json
import multiprocessing
import os
from multiprocessing import forkserver
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.text import Text
from PIL import Image

from helpers import tool_process
from helpers.painted import paint_both
from pretrain.engine.checkpoint import export_trunk
from pretrain.models.trunks import build_trunk
from pretrain.runtime.errors import UserError
from tools import evaluate
from tools import report as report_tool
from transfer import results
from transfer.analysis import tsne

ODD = {  # a folder's bytes, and what is shown
    b"$5_and_$10": "$5_and_$10",
    b"$\\frac{1}{2": "$\\frac{1}{2",
    b"_x": "_x",
    b"50%": "50%",
    b"<b>R&amp;D": "<b>R&amp;D",
    b"a|b`c*d": "a|b`c*d",
    b"caf\xe9": "caf\\xe9",
    b"two\nlines\x1b[31m": "two\\nlines\\x1b[31m",
    "斑馬 ü".encode(): "斑馬 ü",
}
SET = os.fsdecode(b"lat\xe9 $x_")
QUICK = ["image_size=16", "workers=0", "device=cpu", "threads=1"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A set whose name and classes are odd, one of plain names, and a trunk."""
    root, noise = tmp_path_factory.mktemp("place"), np.random.default_rng(0)
    for part, count in (("train", 3), ("val", 2)):
        for number, name in enumerate(ODD):
            folder = root / SET / part / os.fsdecode(name)
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = np.clip(noise.normal(20 + 25 * number, 20, (20, 24, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    paint_both(root / "colours", train=6, val=4)
    torch.manual_seed(0)
    export_trunk(root / "trunk.pth", build_trunk("resnet18")[0], "resnet18", {"step": 5, "seed": 0})
    return root


def measure(place, out, *words, data=SET):
    where = ["--checkpoint", f"{place}/trunk.pth", "--data", f"{place}/{data}", "--out", str(out)]
    evaluate.main([words[0], *where, *QUICK, *words[1:]])
    return results.load(out)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of scikit-learn, about itself
def test_odd_names_are_in_numbers_pictures_and_report(place, tmp_path, capsys):
    result = measure(place, tmp_path / "r.json", "readings", "readings=[per_class,neighbours,tsne]")
    assert [name for name in result.metrics if name.startswith("class ")] == [
        f"class {shown}, top1" for _, shown in sorted(ODD.items(), key=lambda entry: os.fsdecode(entry[0]))
    ]
    assert result.dataset == "lat\\xe9 $x_" and result.artefacts["images"] == ["r-neighbours.png", "r-tsne.png"]
    assert capsys.readouterr().out.count("result: ") == 1
    assert "\\ud" not in (tmp_path / "r.json").read_text(encoding="utf-8")
    report_tool.main([str(tmp_path), "--out", str(tmp_path / "report")])
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    for shown in ("lat\\xe9 $x_", *ODD.values()):
        assert html.escape(shown) in page or html.escape(shown, quote=False) in page, shown


def test_results_of_earlier_versions_with_names_that_no_page_can_hold_are_read(place, tmp_path):
    measure(place, tmp_path / "r.json", "knn", data="colours")
    written = json.loads((tmp_path / "r.json").read_text()) | {"dataset": "lat\udce9", "settings": {"a": ["\udcff"]}}
    (tmp_path / "r.json").write_text(json.dumps(written))
    read = results.load(tmp_path / "r.json")
    assert read.dataset == "lat\\xe9" and read.settings == {"a": ["\\xff"]}


def test_a_legend_shows_every_name_as_it_is():
    names = [os.fsdecode(name) for name in ODD] + ["n" * 300]
    figure = tsne.plot(np.random.default_rng(0).normal(size=(len(names), 2)), range(len(names)), names)
    (legend,) = (axes.get_legend() for axes in figure.axes)
    shown = legend.get_texts()
    assert [text.get_text() for text in shown[:-1]] == list(ODD.values()) and len(shown[-1].get_text()) < 45
    assert not any(text.get_parse_math() for text in shown) and all(isinstance(text, Text) for text in shown)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of scikit-learn, about itself
def test_numbers_are_written_before_a_picture_is_drawn(place, tmp_path):
    (tmp_path / "r-neighbours.png" / "in the way").mkdir(parents=True)
    with pytest.raises(UserError, match=r"r-neighbours\.png cannot be written .*r\.json is whole"):
        measure(place, tmp_path / "r.json", "readings", "readings=[rankme,neighbours]", data="colours")
    kept = results.load(tmp_path / "r.json")
    assert list(kept.metrics) == ["RankMe, % of 512"] and kept.artefacts == {"images": []}


@pytest.fixture
def anew():
    """How Python 3.14 starts processes, and macOS nearly so: what a worker gets is sent to it.

    Their server has imported what tools import, or each worker would do so.
    """
    multiprocessing.get_context("forkserver").set_forkserver_preload(tool_process.IMPORTED)
    forkserver.ensure_running()
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("forkserver", force=True)
    yield
    multiprocessing.set_start_method(before, force=True)


@pytest.mark.slow
@pytest.mark.usefixtures("anew")
@pytest.mark.parametrize(
    "words",
    [
        ["readings", "readings=[robustness]", "images=4"],
        ["semi", "epochs=1", "fraction=0.5"],
        ["linear", "probe=augmented", "head.epochs=1"],
    ],
    ids=lambda words: words[0],
)
def test_workers_that_are_not_forked_measure_the_same(place, tmp_path, words):
    alone = measure(place, tmp_path / "alone.json", *words, data="colours")
    assert measure(place, tmp_path / "r.json", *words, "workers=1", data="colours").metrics == alone.metrics
    assert Path(tmp_path, "r.json").is_file()
