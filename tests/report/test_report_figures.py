"""The report's Figures 2 and 3: which lines are drawn, what they are called, how they differ, and what is left out."""

from __future__ import annotations

import itertools
import json
import math
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from torch.nn import functional

from helpers.report_samples import a_line, a_run, markdown_of
from pretrain import methods
from pretrain.engine.monitor import diagnostics
from transfer.report.collect.names import method_name, name_runs
from transfer.report.collect.search import search_folders
from transfer.report.render.charts import Chart, Line, look, specification, svg_file
from transfer.report.sections.training import PANELS, charts
from transfer.report.write import write_report

IN_THE_PAPERS_ORDER = [  # of Table 2, each followed by what Table 6 adds back to it
    "MoCo",
    "SimCLR",
    "SimCLR (both terms)",
    "BYOL",
    "SimSiam",
    "DirectPred",
    "DirectPred (middle term)",
    "UniGrad",
    "Barlow Twins",
    "Barlow Twins (A = I)",
    "Barlow Twins (l2)",
    "VICReg",
    "VICReg (l2)",
]
SVG = "{http://www.w3.org/2000/svg}"
FIGURE_2, FIGURE_3, OPTIMISATION = (PANELS[name] for name in ("figure_2", "figure_3", "optimisation"))
FIGURE_3_KEYS = {  # what each method's own run writes, in the order of the panels
    "directpred": [
        ["directpred_first_norm", "directpred_middle_norm", "directpred_last_norm", "directpred_cosine"],
        ["directpred_balance"],
    ],
    "barlow_twins": [["barlow_a_min", "barlow_a_max"]],
    "vicreg": [["vicreg_dropped_cosine"]],
}


def of_method(folder: Path, name: str, seed: int = 0, overrides: tuple[str, ...] = (), **values: float) -> Path:
    lines = [a_line(step, **{key: value * step for key, value in values.items()}) for step in (10, 20, 30)]
    return a_run(folder, lines, seed=seed, overrides=[f"method.name={name}", *overrides])


def labels_of(folder: Path) -> list[str]:
    return [entry.name for entry in name_runs(search_folders([folder]).runs)]


def drawn_in(folder: Path, panels: list = FIGURE_2 + FIGURE_3 + OPTIMISATION) -> dict[str, Chart]:
    return {chart.key: chart for chart in charts(search_folders([folder]).runs, panels)}


def test_no_quantity_is_drawn_twice() -> None:
    keys = [key for panel in FIGURE_2 + FIGURE_3 + OPTIMISATION for key in panel["quantities"]]
    assert len(set(keys)) == len(keys)


def test_figure_2_has_the_papers_panels_in_its_order_and_the_rank(tmp_path: Path) -> None:
    values = {"positive_cosine": 0.01, "negative_cosine": 0.02, "knn_top1": 1.0, "decorrelation": 0.03}
    of_method(tmp_path / "run", "simclr", **values, effective_rank=2.0)
    drawn = charts(search_folders([tmp_path]).runs, FIGURE_2)
    slopes = [*values.values(), 2.0]
    assert [chart.lines[0].y for chart in drawn] == [tuple(slope * step for step in (10, 20, 30)) for slope in slopes]
    assert all(chart.lines[0].x == (1.0, 2.0, 3.0) and chart.x_label == "epoch" for chart in drawn)


@pytest.mark.parametrize("name", FIGURE_3_KEYS)
def test_figure_3_draws_what_the_method_measures(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    rows = functional.normalize(torch.randn(2, 6, 4), dim=-1)
    form = methods.build(name)
    form.observe(rows)
    measured = diagnostics.figure_3(form, rows[0], rows[1])
    assert set(measured) == set(itertools.chain(*FIGURE_3_KEYS[name]))
    of_method(tmp_path / "run", name, **{key: float(value) for key, value in measured.items()})
    drawn = charts(search_folders([tmp_path]).runs, FIGURE_3)
    for chart, keys in zip(drawn, FIGURE_3_KEYS[name], strict=True):
        assert [line.y[0] for line in chart.lines] == pytest.approx([10 * float(measured[key]) for key in keys])
        assert len({line.name for line in chart.lines}) == len({line.style for line in chart.lines}) == len(keys)


def test_several_runs_of_a_panel_with_several_quantities_are_told_apart(tmp_path: Path) -> None:
    for balance in (0.1, 0.3):
        chosen = (f"method.balance={balance}",)
        of_method(tmp_path / str(balance), "barlow_twins", overrides=chosen, barlow_a_min=1, barlow_a_max=2)
    lines = drawn_in(tmp_path)["figure_3c"].lines
    names = [f"Barlow Twins, balance {balance}: {which}" for balance in (0.1, 0.3) for which in ("smallest", "largest")]
    assert [(line.name, line.style) for line in lines] == list(zip(names, range(4), strict=True))


def test_energy_is_unigrads_negative_term_without_the_balance(tmp_path: Path) -> None:
    a_run(tmp_path / "run", [a_line(10, negative=2.0), a_line(20, negative=1.0)])
    of_method(tmp_path / "other", "moco")
    energy = drawn_in(tmp_path)["energy"]
    assert [(line.name, line.y) for line in energy.lines] == [("UniGrad", (0.25, 0.125))]  # balance 8


def test_unmeasured_panels_are_named_and_not_drawn(tmp_path: Path) -> None:
    of_method(tmp_path / "runs" / "a", "moco", knn_top1=1.0)
    of_method(tmp_path / "runs" / "b", "byol")
    said = " ".join(markdown_of(tmp_path / "runs", tmp_path / "out").split())
    assert "“Effective rank” is left out: no run measured it." in said
    assert "(c) k-NN accuracy was not measured by BYOL." in said
    assert "“(a) DirectPred: terms of W W u1” is left out: it needs method.name=directpred. “(b)" in said
    assert not list((tmp_path / "out" / "figures").glob("figure_3*"))
    assert sorted(path.name[:9] for path in (tmp_path / "out" / "figures").glob("figure_2*")) == [
        f"figure_2{letter}" for letter in "abcd"
    ]


def test_run_without_steps_is_not_missed_in_figures(tmp_path: Path) -> None:
    a_run(tmp_path / "runs" / "run", [])
    said = markdown_of(tmp_path / "runs", tmp_path / "out")
    assert "No logged step was found" in said and "Figure" not in said


def test_every_row_has_a_title_of_its_own_and_what_is_no_row_is_called_as_it_is_typed() -> None:
    assert {name: method_name(name) for name in methods.ROWS} == {name: row.title for name, row in methods.ROWS.items()}
    assert len({row.title for row in methods.ROWS.values()} - {""}) == len(methods.ROWS)
    assert method_name("a_row_to_come") == "a_row_to_come"


def test_runs_are_called_by_method_in_the_papers_order(tmp_path: Path) -> None:
    for name in ("barlow_twins", "moco", "unigrad", "byol"):
        of_method(tmp_path / name, name)
    assert labels_of(tmp_path) == ["MoCo", "BYOL", "UniGrad", "Barlow Twins"]


def test_runs_of_one_method_are_called_by_what_differs_numbers_by_size(tmp_path: Path) -> None:
    of_method(tmp_path / "moco", "moco", overrides=("optim.epochs=7",))
    for width in (16384, 2048, 1024):
        of_method(tmp_path / str(width), "unigrad", overrides=(f"model.projector_width={width}",))
    widths = [f"UniGrad, projector width {width}" for width in (1024, 2048, 16384)]
    assert labels_of(tmp_path) == ["MoCo", *widths]


def test_runs_that_differ_in_much_are_called_by_their_folder(tmp_path: Path) -> None:
    of_method(tmp_path / "short", "unigrad")
    much = ("optim.epochs=3", "optim.base_lr=2", "views.size=32", "model.arch=resnet18")
    of_method(tmp_path / "other", "unigrad", overrides=much)
    assert labels_of(tmp_path) == ["UniGrad (other)", "UniGrad (short)"]


def test_repetitions_share_label_and_style_beside_other_recipes(tmp_path: Path) -> None:
    for seed in range(3):
        of_method(tmp_path / f"simclr-{seed}", "simclr", seed)
    of_method(tmp_path / "byol", "byol")
    lines = drawn_in(tmp_path)["lr"].lines
    assert [(line.name, line.style) for line in lines] == [("SimCLR (3 runs)", 0)] * 3 + [("BYOL", 1)]


@pytest.mark.slow
def test_repetitions_alone_are_told_apart_by_seed_or_folder(tmp_path: Path) -> None:
    for seed in (0, 10, 2):
        of_method(tmp_path / "seeds" / str(seed), "simclr", seed)
    assert labels_of(tmp_path / "seeds") == [f"SimCLR, seed {seed}" for seed in (0, 2, 10)]
    for name in ("first", "again"):
        of_method(tmp_path / "alike" / name, "simclr")
    assert labels_of(tmp_path / "alike") == ["SimCLR (again)", "SimCLR (first)"]


def test_twenty_lines_differ_without_colour() -> None:
    assert len({(look(style)["dash"], look(style)["shape"]) for style in range(20)}) == 20


def test_lines_are_drawn_as_their_legend_shows_them() -> None:
    lines = tuple(Line(f"run {style}", (0.0, 1.0, 2.0), (1.0, style, 2.0), style) for style in range(13))
    root = ElementTree.fromstring(svg_file(Chart("k", "t", "m", "epoch", "", lines)))
    drawn = [path for group in root.iter(f"{SVG}g") if "mark-line" in group.get("class", "") for path in group]
    looks = [(path.get("stroke"), path.get("stroke-dasharray") or None) for path in drawn]
    expected = [look(style) for style in range(13)]
    assert looks == [(one["colour"], ",".join(f"{length:g}" for length in one["dash"]) or None) for one in expected]
    symbols = [group for group in root.iter(f"{SVG}g") if "role-legend-symbol" in group.get("class", "")]
    shown = [(path.get("stroke"), path.get("stroke-dasharray") or None) for group in symbols for path in group]
    assert shown == looks
    assert [text.text for text in root.iter(f"{SVG}text") if (text.text or "").startswith("run")] == [
        f"run {style}" for style in range(13)
    ]


def test_run_without_a_finite_value_is_told_beside_the_others(tmp_path: Path) -> None:
    of_method(tmp_path / "a", "moco", positive_cosine=math.nan)
    of_method(tmp_path / "b", "byol", positive_cosine=0.01)
    chart = drawn_in(tmp_path)["figure_2a"]
    assert chart.in_words().endswith("MoCo: no finite value, 3 of 3 values not finite; BYOL: 0.1 at epoch 1, 0.3 at 3.")
    ElementTree.fromstring(svg_file(chart))


@pytest.mark.slow
def test_page_of_all_methods_names_each_once_a_legend(tmp_path: Path) -> None:
    for name in methods.ROWS:
        of_method(tmp_path / "runs" / name, name)
    page, markdown = write_report([tmp_path / "runs"], tmp_path / "out")
    text = page.read_text(encoding="utf-8")
    legends = re.findall(r'<ul class="legend">(.*?)</ul>', text, re.DOTALL)
    assert [re.findall(r"<span>([^<]*)</span>", legend) for legend in legends] == [IN_THE_PAPERS_ORDER] * 2
    shown = re.findall(r"!\[([^\]]+)\]\(figures/figure_2a", markdown.read_text(encoding="utf-8"))
    assert all(f"{name}: 0.5 at epoch 1, 0.5 at 3" in shown[0] for name in IN_THE_PAPERS_ORDER)
    assert len(text) < 3_000_000


@pytest.mark.parametrize("ends", [(1e-13, 2e-13), (0.99, 0.9900000000001), (5e-324, 0.0), (5.0, 5.0), (-3.0, 7e6)])
def test_an_axis_of_any_range_has_numbers_and_a_line(ends: tuple[float, float]) -> None:
    root = ElementTree.fromstring(svg_file(Chart("k", "t", "m", "epoch", "", (Line("run", (0.0, 1.0), ends),))))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert "epoch" in texts and "1.0" in texts and not any("NaN" in (text or "") for text in texts)
    (line,) = [path for group in root.iter(f"{SVG}g") if "mark-line" in group.get("class", "") for path in group]
    assert "NaN" not in line.get("d", "") and line.get("d", "").startswith("M0,")


def test_what_is_pointed_at_is_what_was_logged(tmp_path: Path) -> None:
    """The page's script reads the values beside the pointer from the specification."""
    of_method(tmp_path / "run", "moco", knn_top1=1.5)
    chart = drawn_in(tmp_path)["figure_2c"]
    spec = specification(chart)
    (line,) = spec["data"]["values"]
    assert (line["x"], line["y"]) == ([1.0, 2.0, 3.0], [15.0, 30.0, 45.0])
    assert spec["usermeta"] == {"x": "epoch", "unit": "%"}


def test_a_page_of_many_long_runs_stays_small() -> None:
    steps = tuple(float(step) for step in range(20_000))
    lines = tuple(
        Line(f"run {style}", steps, tuple(math.sin(x / 9 + style) for x in steps), style) for style in range(13)
    )
    assert len(json.dumps(specification(Chart("k", "t", "m", "epoch", "", lines)))) < 150_000
