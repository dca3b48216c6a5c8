"""The report's quality over epochs: a line a run, a point an export, and a ring around the best one."""

from __future__ import annotations

import json

import pytest

from helpers.report_samples import a_line, a_result, a_run, markdown_of
from transfer.report.collect.search import search_folders
from transfer.report.render.charts import specification, svg_file, thin
from transfer.report.sections.epochs import charts

VALUES = {0: 30.0, 10: 41.0, 20: 43.5, 30: 42.0}


def fill(root, seeds=(0,), values=VALUES):
    """Results of a run's exports by epoch, a run a seed; the later seed is 2 % better everywhere."""
    for seed in seeds:
        run = a_run(root / f"run-{seed}", [a_line(step) for step in (10, 20, 30)], seed=seed)
        for epoch, value in values.items():
            meta = {"method": "unigrad", "step": epoch, "epoch": float(epoch), "run": str(run)}
            path = root / f"run-{seed}" / f"knn-{epoch:04d}.json"
            more = {"pretraining": meta, "checkpoint_sha256": f"{seed:032}{epoch:032}"}
            a_result(path, value + 2 * seed, "pretrained" if epoch else "random", seed, **more)
    return root


def test_a_chart_has_every_export_and_rings_the_best(tmp_path):
    (chart,) = charts(search_folders([fill(tmp_path / "runs")]))
    (line,) = chart.lines
    assert (line.x, line.y) == (tuple(map(float, VALUES)), tuple(VALUES.values()))
    assert (line.x[line.best], line.y[line.best]) == (20.0, 43.5)
    assert (chart.unit, chart.x_label) == ("%", "epoch") and chart.meaning == "top1 on toys, ResNet-18"
    assert "best 43.5% at 20" in chart.in_words()
    said = specification(chart)
    assert said["data"]["values"][0]["best"] == [0, 0, 1, 0]
    svg = svg_file(chart)
    assert ">43.5<" in svg  # what stands beside the ring


def test_seeds_of_one_recipe_are_one_line_of_means(tmp_path):
    (chart,) = charts(search_folders([fill(tmp_path / "runs", seeds=(0, 1))]))
    (line,) = chart.lines
    assert line.y == tuple(value + 1 for value in VALUES.values()) and line.name.endswith("mean of 2 runs")


def test_seeds_whose_runs_are_not_at_hand_are_one_line_by_the_recipe_of_their_trunks(tmp_path):
    for seed, epochs in ((0, (10, 20)), (1, (10, 20, 30))):  # of the last epoch there is the second seed alone
        for epoch in epochs:
            meta = {"method": "unigrad", "step": epoch, "epoch": float(epoch), "run": f"/a/{seed}", "recipe": "a" * 16}
            more = {"pretraining": meta, "checkpoint_sha256": f"{seed:032}{epoch:032}"}
            a_result(tmp_path / f"knn-{seed}-{epoch}.json", VALUES[epoch] + 2 * seed, "pretrained", seed, **more)
    (chart,) = charts(search_folders([tmp_path]))
    (line,) = chart.lines
    assert (line.x, line.y) == ((10.0, 20.0, 30.0), (42.0, 44.5, 44.0))


def test_results_of_one_epoch_or_of_no_known_run_draw_nothing(tmp_path):
    a_result(tmp_path / "a" / "knn.json", 40.0, "pretrained", 0)
    assert charts(search_folders([fill(tmp_path / "runs", values={10: 41.0}), tmp_path / "a"])) == []


def test_the_page_has_the_section_where_there_is_something_to_draw(tmp_path):
    said = markdown_of(fill(tmp_path / "runs"), tmp_path / "out")
    assert "## Quality over epochs" in said and "it flatters" in said
    assert "epochs_0.svg" in said and (tmp_path / "out" / "figures" / "epochs_0.svg").is_file()
    assert "Quality over epochs" not in markdown_of(fill(tmp_path / "one", values={10: 41.0}), tmp_path / "out-1")


def test_the_opening_speaks_of_the_last_epoch_and_not_of_the_best(tmp_path):
    said = markdown_of(fill(tmp_path / "runs"), tmp_path / "out").split("## Quality")[0]
    assert "went from 30.0 % (n=1) to 42.0 % (n=1)" in said and "43.5" not in said.split("## ")[0]


def test_other_charts_are_drawn_as_before(tmp_path):
    data = search_folders([fill(tmp_path / "runs")])
    (chart,) = charts(data)
    plain = specification(chart.__class__(**{**vars(chart), "lines": tuple(map(unmarked, chart.lines))}))
    assert len(plain["layer"]) == 3 and len(specification(chart)["layer"]) == 5
    assert json.dumps(plain)


def unmarked(line):
    return line.__class__(line.name, line.x, line.y, line.style)


@pytest.mark.parametrize("columns", [40, 300])
def test_the_best_of_a_long_line_stays_when_it_is_thinned(tmp_path, columns):
    line = unmarked(charts(search_folders([fill(tmp_path / "runs")]))[0].lines[0])
    x = tuple(float(place) for place in range(5000))
    y = tuple(float(place * 7919 % 5000) for place in range(5000))
    long = thin(line.__class__("long", x, y, 0, y.index(max(y))), columns)
    assert len(long.x) < 5000 and long.y[long.best] == max(y)
