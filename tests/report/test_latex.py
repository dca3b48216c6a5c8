"""The tables' LaTeX: nothing in a text means anything to it, and pdflatex draws all tables of a report on its pages."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from helpers.report_samples import a_line, a_result, a_run
from helpers.repository import ROOT
from transfer.report.render.exports import PACKAGES, escaped
from transfer.report.write import write_report

DRAWN = {  # by what LaTeX draws it
    **{r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"\textasciigrave{}": "`"},
    **{r"\textless{}": "<", r"\textgreater{}": ">", r"\textbar{}": "|", r"\dots{}": "…", r"\allowbreak{}": ""},
    **{rf"\{mark}": mark for mark in "&%$#_{}"},
    **{"{[}": "[", "{*}": "*", "-{}-": "--", "---": "—", "--": "–", "``": "“", "''": "”"},
    **{rf"$\{name}$": mark for name, mark in zip(("pm", "times", "cdot", "to", "surd"), "±×·→√", strict=True)},
    **{rf"$\{name}$": mark for name, mark in zip(("leftarrow", "uparrow", "downarrow", "|"), "←↑↓‖", strict=True)},
    **{rf"$\{name}$": mark for name, mark in zip(("alpha", "lambda", "sigma", "Sigma", "tau"), "αλσΣτ", strict=True)},
    **{"$-$": "-", "$^2$": "²", r"$\frac12$": "½", r"$\propto$": "∝"},
}
TOKEN = re.compile("|".join([*map(re.escape, sorted(DRAWN, key=len, reverse=True)), r"[^\\&%$#_{}~^`\[*]"]))
ODD = (
    r"50% of_a & b #1 $x$ {y} ~z ^2 back\slash <a> |b| [0.1, -2.5] *star* --paper `tick` ± × λ α Σ ‖w‖² … “q” é "
    "1e-05 a-b"
)


def plain(text):
    """LaTeX's text as it is drawn; a mark that would mean something else fails."""
    tokens = TOKEN.findall(text)
    assert "".join(tokens) == text
    return "".join(DRAWN.get(token, token) for token in tokens)


def cells_of(line):
    """The cells of a row."""
    return line.removesuffix(r" \\").split(" & ")


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("text", [*ODD.split(), ODD, "".join(map(chr, range(33, 127))), "-1", "- 1", "a/b_c=d"])
def test_every_mark_is_drawn_as_it_is(text, wrap):
    assert plain(escaped(text, wrap)) == text


def test_a_row_never_begins_with_what_the_end_of_the_row_before_would_take():
    assert not re.match(r"[\[*]", escaped("[0, 1]")) and not re.match(r"[\[*]", escaped("* best"))


def test_every_letter_of_the_reports_own_words_is_known():
    """The words of the sections and of the published tables, of which pdflatex draws Latin letters by itself."""
    words = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "transfer").rglob("*.yaml"))
    foreign = sorted({mark for mark in words if ord(mark) > 126 and escaped(mark) == mark})
    assert all(mark.isalpha() and ord(mark) < 0x180 for mark in foreign), foreign


def odd_report(folder: Path) -> Path:
    """A report of names that mean something to LaTeX, with the paper's tables."""
    for seed in range(2):
        run = a_run(folder / "runs" / f"run_{seed} 50% & λ=α^2 #x", [a_line(step) for step in (5, 10)], seed=seed)
        (run / "views.png").unlink()  # a grid of pictures is no table
        for init, value in (("random", 30.0 + seed), ("pretrained", 40.0 + 2 * seed)):
            for data in (ODD, "[toys]", "*"):
                known = {
                    "dataset": data,
                    "protocol": f"k-NN: {ODD}",
                    "metrics": {"top1, 50 %": value, "*_mean": -value},
                }
                name = f"{init}-{seed}-{len(data)}.json"
                a_result(folder / "runs" / name, value, init, seed, arch="timm/a_b-c", **known)
    write_report([folder / "runs"], folder / "out", paper=True)
    return folder / "out" / "tables"


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    return odd_report(tmp_path_factory.mktemp("odd"))


def test_every_table_is_a_csv_and_a_latex_table_with_the_same_texts(tables):
    text = (tables.parent / "report.md").read_text(encoding="utf-8")
    files = sorted(tables.glob("*.csv"))
    assert len(files) == len(re.findall(r"^\| -{3}", text, re.MULTILINE)) > 8
    for path in files:
        with open(path, encoding="utf-8", newline="") as lines:
            rows = list(csv.reader(lines))
        latex = path.with_suffix(".tex").read_text(encoding="utf-8")
        body = latex.partition("\\toprule\n")[2].partition("\\bottomrule")[0].replace("\\midrule\n", "")
        found = [cells_of(line) for line in body.splitlines()]
        assert latex.count("\\begin{") == latex.count("\\end{") == 3
        columns = re.search(r"\\begin\{tabular\}\{(.+)\}\n", latex)[1]
        assert len(re.sub(r">\{\\ragged\w+\\arraybackslash\}p\{[\d.]+em\}", "p", columns)) == len(rows[0])
        for cells, row in zip(found, rows, strict=True):
            assert [plain(cell) for cell in cells] == [" ".join(cell.split()) for cell in row]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_pdflatex_draws_every_table_of_a_report_within_the_page(tables, tmp_path):
    """A document that inputs all of them, one a page."""
    present = [f"{name}.sty" for name in PACKAGES]
    lacking = [name for name in present if not subprocess.run(["kpsewhich", name], capture_output=True).stdout]
    if lacking:
        pytest.skip(f"LaTeX lacks {', '.join(lacking)}")
    files = sorted(tables.glob("*.tex"))
    body = "\n\\clearpage\n".join(f"\\input{{{path}}}" for path in files)
    head = f"\\documentclass{{article}}\n\\usepackage{{{','.join(PACKAGES)}}}\n"
    (tmp_path / "all.tex").write_text(f"{head}\\begin{{document}}\n{body}\n\\end{{document}}\n", encoding="utf-8")
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True)
    log = (tmp_path / "all.log").read_text(encoding="latin-1")
    assert done.returncode == 0, log[-2000:]
    assert f"({len(files)} pages" in "".join(log.splitlines()) and "Float too large" not in log
    wide = [float(width) for width in re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\) in par", log)]
    assert max(wide, default=0.0) < 1
    if shutil.which("pdftotext"):
        told = subprocess.run(
            ["pdftotext", "-layout", "all.pdf", "-"], cwd=tmp_path, capture_output=True, text=True
        ).stdout
        assert "[toys]" in told and "50%" in told and "--paper" in told and "±" in told
