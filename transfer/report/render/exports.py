"""Every table of a report as CSV and as LaTeX (booktabs), a file each, for papers and spreadsheets."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from pretrain.runtime.files import write_text
from transfer.report.render.document import Block

FOLDER = "tables"
ESCAPED = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "λ": r"$\lambda$",
    "α": r"$\alpha$",
    "—": "---",
    "–": "--",
    "“": "``",
    "”": "''",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
} | {mark: f"\\{mark}" for mark in "&%$#_{}"}
SPECIAL = re.compile("|".join(map(re.escape, ESCAPED)))


def write_tables(blocks: Sequence[Block], out: Path) -> list[Path]:
    """Write OUT/tables/NN-SECTION.csv and .tex of each table, numbered in the order of the report; their paths."""
    paths = []
    for name, block in named(blocks):
        paths.append(write_text(out / FOLDER / f"{name}.csv", as_csv(block)))
        paths.append(write_text(out / FOLDER / f"{name}.tex", as_latex(block, name)))
    return paths


def named(blocks: Sequence[Block]) -> Iterator[tuple[str, Block]]:
    """Each table with the name of its files: its number, and the heading that it stands below."""
    below, number = "report", 0
    for block in blocks:
        if block.kind == "Heading":
            below = re.sub(r"[^a-z0-9]+", "-", block.anchor.lower()).strip("-") or "report"
        elif block.kind == "Table":
            number += 1
            yield f"{number:02}-{below}", block


def as_csv(block: Block) -> str:
    """The table's texts, the columns' names first."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(block.columns)
    writer.writerows(block.texts)
    return text.getvalue()


def as_latex(block: Block, label: str) -> str:
    """A table environment in the rules of booktabs: `\\usepackage{booktabs}` and `\\input` are all that it needs.

    Args: label, by which the text refers to it, as tab:LABEL.
    """
    columns = "".join("r" if name in block.numeric else "l" for name in block.columns)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(block.caption)}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _row(block.columns),
        r"\midrule",
        *map(_row, block.texts),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _row(texts: Sequence[str]) -> str:
    return " & ".join(map(escaped, texts)) + r" \\"


def escaped(text: str) -> str:
    """A text on one line, in which nothing means anything to LaTeX."""
    return SPECIAL.sub(lambda found: ESCAPED[found[0]], " ".join(text.split()))
