"""The report's page, Markdown and curves: whole, well-formed, self-contained, and plain about what is missing."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from helpers.report_samples import a_line, a_result, a_run, cells, fill, markdown_of
from helpers.repository import ROOT
from pretrain.runtime.errors import UserError
from tools import report as tool
from transfer.report.collect.search import search_folders
from transfer.report.render.charts import Line, svg_file, thin
from transfer.report.render.pages import environment
from transfer.report.sections.training import PANELS, charts
from transfer.report.write import write_report

VOID = {"meta", "img", "br", "hr", "link", "input", "path", "line", "rect", "circle"}


class Page(HTMLParser):
    """Checks nesting while parsing, and keeps every tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def everything(tmp_path: Path) -> Path:
    return fill(tmp_path / "runs")


def test_last_line_of_a_step_counts(tmp_path: Path) -> None:
    lines = [a_line(10, lr=1.0), a_line(20, lr=2.0), a_line(30, lr=3.0), a_line(20, lr=5.0), a_line(30, lr=7.0)]
    lines += [json.dumps({"step": 30, "effective_rank": 11.0}), '{"step": 40, "lr"', "[" * 100_000]
    a_run(tmp_path / "run", lines)
    found = search_folders([tmp_path])
    assert [(line["step"], line["lr"]) for line in found.runs[0].lines] == [(10, 1.0), (20, 5.0), (30, 7.0)]
    assert found.runs[0].last("effective_rank") == 11.0
    assert found.runs[0].images_seen() == 30 * 64
    assert "2 line(s) are damaged" in found.notes[0]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("balance: 8.0", "balance: {}"),
        ("batch_size: 64", "batch_size: many"),
        ("method:", "method: &m\n  itself: *m\nthe_method:"),
        ("views:", "views: []\nthe_views:"),
        ("optim:", "? ~\n: 1\noptim:"),
    ],
)
def test_a_run_whose_configuration_was_spoilt_is_named_and_left_out(tmp_path: Path, old: str, new: str) -> None:
    a_run(tmp_path / "good", [a_line(1)])
    config = a_run(tmp_path / "bad", [a_line(1)]) / "config.yaml"
    assert f"{old}\n" in config.read_text()
    config.write_text(config.read_text().replace(f"{old}\n", f"{new}\n"))
    found = search_folders([tmp_path])
    assert [run.name for run in found.runs] == ["good"]
    assert "config.yaml holds values of the wrong type, so this run is not shown" in found.notes[0]


@pytest.mark.parametrize("value", ["x", [1], 10**400, {}])
def test_a_line_with_something_that_no_curve_can_show_is_counted_and_left_out(tmp_path: Path, value: object) -> None:
    a_run(tmp_path / "run", [a_line(1), a_line(2, negative=value), a_line(3, negative=float("nan"))])
    found = search_folders([tmp_path])
    assert [line["step"] for line in found.runs[0].lines] == [1, 3]
    assert "1 line(s) are damaged" in found.notes[0]


@pytest.mark.parametrize(
    "values",
    [[0.5], [math.nan], [0.5, math.nan, math.inf, 0.2, -math.inf, 0.1], [0.0, 0.0], [-3e-9, 4e8]],
    ids=["single", "no finite value", "gaps", "constant", "wide"],
)
def test_any_curve_can_be_drawn(values: list[float], tmp_path: Path) -> None:
    a_run(tmp_path / "run", [a_line(step, positive_cosine=value) for step, value in enumerate(values, 1)])
    chart = charts(search_folders([tmp_path]).runs, PANELS["figure_2"])[0]
    root = ElementTree.fromstring(svg_file(chart))  # well-formed XML
    groups = [group for group in root.iter("{http://www.w3.org/2000/svg}g") if "mark-" in group.get("class", "")]
    drawn = [path for group in groups for path in group if "mark-line" in group.get("class", "")]
    drawn += [path for group in groups for path in group if "mark-symbol" in group.get("class", "")]
    coordinates = " ".join(f"{path.get('d', '')} {path.get('transform', '')}" for path in drawn)
    assert "NaN" not in coordinates and "Infinity" not in coordinates
    finite = [value for value in values if math.isfinite(value)]
    assert bool(re.search(r"translate\([\d.]+,[\d.]+\)", coordinates)) == bool(finite)  # its last value is marked
    lost = sum(not math.isfinite(value) for value in values)
    assert lost in (0, len(values)) or f"{lost} of {len(values)} values not finite" in chart.in_words()


def test_thinned_line_keeps_ends_and_extremes() -> None:
    x = tuple(float(step) for step in range(10_000))
    y = tuple(math.sin(step / 7) + (50 if step == 4321 else -50 if step == 8765 else 0) for step in range(10_000))
    kept = thin(Line("run", x, y), columns=100)
    assert len(kept.x) <= 4 * 101 and list(kept.x) == sorted(kept.x)
    assert {0.0, 4321.0, 8765.0, 9999.0} <= set(kept.x)
    assert set(zip(kept.x, kept.y, strict=True)) <= set(zip(x, y, strict=True))


def test_page_is_well_formed_and_needs_nothing_beside_it(everything: Path, tmp_path: Path) -> None:
    text = write_report([everything], tmp_path / "out")[0].read_text(encoding="utf-8")
    page = Page(text)
    assert [tag for tag, _ in page.tags if tag in ("link", "iframe", "object")] == []
    assert all(script.keys() <= {"id", "type"} for script in page.of("script"))
    pictures = page.of("img")
    assert len(pictures) == 2 + 2  # views of two runs, one scene by two networks
    assert all(picture["src"].startswith("data:image/webp;base64,") and picture["alt"] for picture in pictures)
    anchors = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {link["href"] for link in page.of("a")} <= {f"#{anchor}" for anchor in anchors}
    ours = re.sub(r'<script id="vega">.*?</script>', "", text, flags=re.DOTALL)  # test_report_browser watches Vega's
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//|url\(|@import""", ours)
    assert len(page.of("h1")) == 1 and page.of("html")[0]["lang"] == "en"
    assert all(svg.get("aria-label") or svg.get("aria-hidden") for svg in page.of("svg"))
    assert "prefers-color-scheme: dark" in text and len(text) < 2_000_000


def test_every_kind_of_block_is_laid_out_in_both_forms() -> None:
    html, markdown = (dir(environment(form).get_template(f"blocks.{form}.j2").module) for form in ("html", "md"))
    kinds = {name for name in html if name.istitle()}
    assert kinds == {name for name in markdown if name.istitle()} >= {"Text", "Table", "Figures", "Charts"}


def test_markup_in_names_stays_text(tmp_path: Path) -> None:
    a_result(tmp_path / "a.json", 40.0, "pretrained", dataset="<b>x</b> | *y*")
    page, markdown = write_report([tmp_path], tmp_path / "out")
    assert Page(page.read_text(encoding="utf-8")).of("b") == []
    assert r"\<b\>x\</b\> \| \*y\*" in markdown.read_text(encoding="utf-8")


def test_markdown_shows_files_that_exist(everything: Path, tmp_path: Path) -> None:
    markdown = markdown_of(everything, tmp_path / "out")
    shown = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", markdown)
    assert (
        len(shown) == 1 + 3 + 5 + 2 + 2
    )  # opening, Figure 2 without k-NN and rank, training curves, views, detections
    assert all((tmp_path / "out" / name).stat().st_size > 0 for name in shown)
    for name in shown:
        if name.endswith(".png"):
            with Image.open(tmp_path / "out" / name) as image:
                assert image.width <= 1100
    sections = re.findall(r"^## (\w+)", markdown, re.MULTILINE)
    assert sections == [
        "Every",
        "Provenance",
        "Figure",
        "Figure",
        "Training",
        "Views",
        "Downstream",
        "Detections",
        "Every",
        "Could",
    ]
    assert "1,280 images seen" in markdown and "commit" in markdown.lower() and "0123abc" in markdown


def test_page_and_markdown_show_the_same_numbers(everything: Path, tmp_path: Path) -> None:
    page, markdown = (path.read_text(encoding="utf-8") for path in write_report([everything], tmp_path / "out"))
    for row in cells(markdown, "k-NN") + cells(markdown, "Detection"):
        plain = [re.sub(r"\\([\[\]])", r"\1", cell) for cell in row[3:]]  # as Markdown escapes brackets
        assert not [cell for cell in plain if f">{cell}</td>" not in page]


def test_broken_file_of_ours_is_named_and_foreign_ones_are_not(everything: Path, tmp_path: Path) -> None:
    markdown = markdown_of(everything, tmp_path / "out")
    unread = markdown.partition("## Could not read")[2]
    assert "cut.json" in unread and "foreign.json" not in markdown and "metrics.json " not in unread


def test_broken_picture_is_named(everything: Path, tmp_path: Path) -> None:
    (everything / "pretrain-0" / "views.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    (everything / "detection-random" / "detections" / "scene_1.png").unlink()
    markdown = markdown_of(everything, tmp_path / "out")
    unread = markdown.partition("## Could not read")[2]
    assert "pretrain-0/views.png" in unread and "scene_1.png" in unread
    assert "No picture of views: pretrain-0." in markdown and "no pictures that can be shown" in markdown


def test_missing_parts_are_said(tmp_path: Path) -> None:
    a_run(tmp_path / "run", [a_line(10)])
    alone = markdown_of(tmp_path, tmp_path / "out")
    assert "No downstream result was found" in alone and "No detection or segmentation result" in alone
    a_result(tmp_path / "knn.json", 40.0, "pretrained")
    markdown = markdown_of(tmp_path, tmp_path / "out")
    assert cells(markdown, "k-NN", "Downstream")[0][4:] == ["—", "40.00 (n=1)", "—", "no random baseline"]
    assert "nothing can be compared" in markdown


@pytest.mark.parametrize("how", ["name", "readme", "stamp"])
def test_synthetic_data_are_said_at_the_top(how: str, tmp_path: Path) -> None:
    data = tmp_path / "data" / "classes" / "train"
    data.mkdir(parents=True)
    if how == "readme":
        (tmp_path / "data" / "README").write_text("SYNTHETIC DATA. Generated.\n")
    if how == "stamp":
        (tmp_path / "data" / "synthetic.json").write_text("{}")
    a_run(tmp_path / "run", [a_line(10)], data)
    a_result(tmp_path / "knn.json", 40.0, "pretrained", dataset="synthetic shapes" if how == "name" else "toys")
    page, markdown = (path.read_text(encoding="utf-8") for path in write_report([tmp_path], tmp_path / "out"))
    assert markdown.splitlines()[2].startswith("> **Synthetic data")
    assert '<p class="warning" role="note">Synthetic data' in page


def test_real_data_are_not_called_synthetic(everything: Path, tmp_path: Path) -> None:
    assert "ynthetic" not in markdown_of(everything, tmp_path / "out")


def test_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a folder"):
        search_folders([tmp_path / "nowhere"])


def test_tool_writes_both_and_says_where(everything: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tool.main([str(everything), "--out", str(tmp_path / "out")])
    said = capsys.readouterr().out
    for name in ("report.html", "report.md"):
        assert str(tmp_path / "out" / name) in said and (tmp_path / "out" / name).is_file()


def test_empty_folder_ends_in_one_sentence_and_code_2(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    command = [sys.executable, "tools/report.py", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: no pretraining run") and len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
