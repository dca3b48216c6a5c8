"""The report's page in a real browser: no errors, tables sort by mouse and keyboard, pictures show, phones fit."""

from __future__ import annotations

import json
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from helpers.report_samples import a_line, a_result, fill
from transfer.report.write import write_report

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine (Debian: apt install chromium)")

# what a visitor would do, told as JSON to the page around it
BEFORE = """<script>
const errors = [];
addEventListener("error", event => errors.push(event.message || "cannot be loaded: " + event.target.src), true);
</script>"""
VISIT = """<script>addEventListener("load", async () => {
  const plots = [...document.querySelectorAll(".plot")], drawn = plot => plot.querySelector("svg");
  for (let tries = 0; tries < 100 && !plots.every(drawn); tries++) await new Promise(done => setTimeout(done, 50));
  const tableOf = caption => [...document.querySelectorAll("table")].find(one =>
    one.caption.textContent.startsWith(caption) || one.closest(".scroll").previousElementSibling?.id === caption);
  const column = (table, name) => [...table.tHead.rows[0].cells].findIndex(one => one.textContent === name);
  const texts = (table, at) => [...table.tBodies[0].rows].map(row => row.cells[at].textContent);
  const told = {errors, width: document.documentElement.clientWidth, page: document.documentElement.scrollWidth,
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    ground: getComputedStyle(document.body).backgroundColor, sorted: {}};
  told.pictures = [...document.images].map(one => one.naturalWidth);
  told.charts = plots.map(plot => drawn(plot).getBoundingClientRect().height);
  told.fetched = performance.getEntriesByType("resource").map(one => one.name);
  const plot = document.querySelector("#figure_2a .plot"), box = plot.parentElement.querySelector(".values");
  const read = () => box.hidden ? [] : [...box.children].map(one => one.textContent);
  const place = plot.getBoundingClientRect();
  const press = async key => {
    plot.dispatchEvent(new KeyboardEvent("keydown", {key}));
    await new Promise(done => setTimeout(done, 50));
    return read();
  };
  told.before = read();
  plot.dispatchEvent(new PointerEvent("pointermove", {clientX: place.right - 2, clientY: place.top + 20}));
  await new Promise(done => setTimeout(done, 50));
  told.pointed = read();
  told.rules = drawn(plot).querySelectorAll(".mark-rule.role-mark line").length;
  told.inside = box.getBoundingClientRect().right <= told.width && box.getBoundingClientRect().left >= 0;
  plot.dispatchEvent(new PointerEvent("pointerleave", {pointerType: "mouse"}));
  told.left = read();
  told.keys = [await press("Home"), await press("ArrowRight"), await press("Escape")];
  for (const [caption, name] of [["table-9", "top1"], ["table-9", "Row"], ["ResNet-18", "Difference"]]) {
    const table = tableOf(caption), at = column(table, name), button = table.tHead.rows[0].cells[at].firstChild;
    const cells = [...table.tBodies[0].rows].map(row => row.cells.length);
    button.focus();
    const steps = [document.activeElement === button];
    for (let times = 0; times < 2; times++) {
      button.click();
      steps.push([button.parentElement.getAttribute("aria-sort"), texts(table, at),
        [...table.tBodies[0].rows].map(row => row.cells.length)]);
    }
    told.sorted[caption + " " + name] = {steps, cells};
  }
  parent.postMessage(JSON.stringify(told), "*");
});</script>"""
# a window cannot be as narrow as a phone, a frame can
FRAME = """<!DOCTYPE html><pre id="told"></pre><script>
addEventListener("message", event => { document.getElementById("told").textContent = event.data; });
</script><iframe src="watched.html" style="width:%dpx;height:900px;border:0"></iframe>"""


def visit(page: Path, folder: Path, width: int, *options: str) -> dict[str, Any]:
    text = page.read_text(encoding="utf-8")
    frame = folder / "frame.html"
    frame.write_text(FRAME % width)
    (folder / "watched.html").write_text(
        text.replace("<head>", f"<head>{BEFORE}", 1).replace("</body>", f"{VISIT}</body>"), encoding="utf-8"
    )
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--user-data-dir={folder / 'profile'}",
    ]
    command += ["--hide-scrollbars", "--window-size=1400,1000", "--virtual-time-budget=5000", *options]
    command += ["--enable-logging=stderr", "--dump-dom", frame.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr, done.stderr
    return json.loads(unescape(done.stdout.partition('<pre id="told">')[2].partition("</pre>")[0]))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    runs = fill(folder / "runs")
    for seed in range(2):
        values = (0.41 + seed / 10, 0.42 + seed / 10, 0.43 + seed / 10)
        lines = [a_line(step, positive_cosine=value) for step, value in zip((5, 10, 20), values, strict=True)]
        (runs / f"pretrain-{seed}" / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    for number, (random, pretrained) in enumerate([(50.0, 20.0), (50.0, 45.0), (None, 45.0)]):
        for init, top1 in (("random", random), ("pretrained", pretrained)):
            a_result(runs / f"{number}-{init}.json", top1, init, task="linear", protocol=f"probe {number}")
    return write_report([runs], folder / "out", paper=True)[0]


READINGS = [
    ["epoch 0.5", "UniGrad, seed 00.41", "UniGrad, seed 10.51"],
    ["epoch 1", "UniGrad, seed 00.42", "UniGrad, seed 10.52"],
    ["epoch 2", "UniGrad, seed 00.43", "UniGrad, seed 10.53"],
]


def test_on_a_desktop_the_page_has_no_errors_and_its_tables_sort(page: Path, tmp_path: Path) -> None:
    told = visit(page, tmp_path, 1280)
    assert told["errors"] == [] and not told["dark"] and told["width"] == told["page"] == 1280
    assert len(told["pictures"]) == 4 and min(told["pictures"]) > 0
    assert len(told["charts"]) >= 5 and min(told["charts"]) > 100 and told["fetched"] == []
    (focused, down, up) = told["sorted"]["table-9 top1"]["steps"]
    values = ["60.7", "65.2", "69.8", "70.0", "70.3"]  # the paper's Table 9
    assert focused and down[:2] == ["descending", values[::-1]] and up[:2] == ["ascending", values]
    assert told["sorted"]["table-9 Row"]["steps"][1][1] == [f"depth {number}" for number in range(1, 6)]


@pytest.mark.parametrize("width", [1280, 390])
def test_pointing_at_a_curve_tells_what_was_logged_there(page: Path, tmp_path: Path, width: int) -> None:
    told = visit(page, tmp_path, width)
    assert told["before"] == told["left"] == [] and told["errors"] == []
    assert told["pointed"] == READINGS[-1] and told["rules"] > 0 and told["inside"]
    assert told["keys"] == [READINGS[0], READINGS[1], []]


def test_rows_that_shared_cells_move_whole_and_what_is_missing_comes_last(page: Path, tmp_path: Path) -> None:
    """On a phone in the dark, where nothing but the tables' own boxes may be wider than the screen."""
    told = visit(page, tmp_path, 390, "--force-dark-mode")
    assert told["errors"] == [] and told["dark"] and told["ground"] == "rgb(20, 24, 31)"
    assert told["width"] == told["page"] == 390
    merged = told["sorted"]["ResNet-18 Difference"]
    assert len(set(merged["cells"])) == 2  # before: the second metric of a protocol has its own cells only
    rising = ["-30.00", "-5.00", "+0.00", "+0.00", "+11.00 ± 1.29"]
    for direction, values, cells in merged["steps"][1:]:
        assert values == [*(rising if direction == "ascending" else rising[::-1]), "—"]
        assert set(cells) == {max(merged["cells"])}
