"""Every table of a report as CSV and as LaTeX (booktabs), a file each, for papers and spreadsheets."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from pretrain.runtime.files import write_text
from transfer.report.render.document import Block

FOLDER = "tables"
NAMED = {"lambda": "lamda", "Lambda": "Lamda"}  # as Unicode spells them
PACKAGES = ("booktabs", "array", "adjustbox")  # that a document needs for them
GREEK = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu")
LATER = ("xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega")
CAPITAL = ("Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega")
MATHS = {
    **{unicodedata.lookup(f"GREEK SMALL LETTER {NAMED.get(name, name).upper()}"): name for name in (*GREEK, *LATER)},
    **{unicodedata.lookup(f"GREEK CAPITAL LETTER {NAMED.get(name, name).upper()}"): name for name in CAPITAL},
    **{"±": "pm", "×": "times", "·": "cdot", "‖": "|", "→": "to", "←": "leftarrow", "↑": "uparrow", "↓": "downarrow"},
    **{"√": "surd", "∝": "propto", "≤": "le", "≥": "ge", "≈": "approx", "∞": "infty", "∈": "in", "µ": "mu"},
}
ESCAPED = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "`": r"\textasciigrave{}",
    "--": "-{}-",  # two would be drawn as one dash
    "[": "{[}",  # after the end of a row it would begin an argument of that end, as would a star
    "*": "{*}",
    **{mark: rf"$\{name}$" for mark, name in MATHS.items()},
    "²": "$^2$",
    "½": r"$\frac12$",
    "−": "$-$",
    "—": "---",
    "–": "--",
    "“": "``",
    "”": "''",
    "…": r"\dots{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
}
MINUS = r"(?<![\w.)-])-(?=\d)"
SPECIAL = re.compile("|".join([MINUS, *map(re.escape, sorted(ESCAPED, key=len, reverse=True))]))
PIECES = re.compile(r"[\s/_=]+")  # between which a line may end
LONG = 26  # letters of a text that stays on one line
LETTER, NARROWEST, GAP = 0.5, 9, 1.2  # em of a letter, of a column of several lines, and between two columns
PAGE = (34.5, 40)  # em and lines of an article's page
MOST_LINES = 12  # of a text


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
    """A table environment in the rules of booktabs, no wider and no higher than the page: it needs PACKAGES.

    Columns of long texts have lines of their own; what is too wide nevertheless is scaled.

    Args: label, by which the text refers to it, as tab:LABEL.
    """
    widths = _widths([block.columns, *block.texts])
    columns = "".join(_column(width, name in block.numeric) for width, name in zip(widths, block.columns, strict=True))
    broken = [width > 0 for width in widths]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(block.caption)}}}",
        rf"\label{{tab:{label}}}",
        r"\smallskip",
        r"\begin{adjustbox}{max width=\linewidth, max totalheight=0.85\textheight, keepaspectratio}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _row(block.columns, broken),
        r"\midrule",
        *(_row(texts, broken) for texts in block.texts),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{adjustbox}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _widths(rows: Sequence[Sequence[str]]) -> list[float]:
    """Of each column in em, 0 where its texts stay on one line: those with which the table is drawn largest."""
    tried = [[_width(column, lines) for column in zip(*rows, strict=True)] for lines in range(1, MOST_LINES + 1)]
    return max(tried, key=lambda widths: _scale(rows, widths))


def _width(texts: Sequence[str], lines: int) -> float:
    """Of a column whose longest text has about so many lines; no narrower than what cannot be broken."""
    longest = max(map(len, texts))
    if longest <= LONG or lines == 1:
        return 0.0
    piece = max(len(piece) for text in texts for piece in PIECES.split(text))
    return max(LETTER * longest / lines, NARROWEST, LETTER * (piece + 1))


def _scale(rows: Sequence[Sequence[str]], widths: Sequence[float]) -> float:
    """By how much a table shrinks to fit the page, by the number of its letters."""
    columns = list(zip(*rows, strict=True))
    across = (width or LETTER * max(map(len, column)) for width, column in zip(widths, columns, strict=True))
    down = (
        max(1.0, *(len(text) * LETTER / width for text, width in zip(row, widths, strict=True) if width))
        if any(widths)
        else 1.0
        for row in rows
    )
    return min(1.0, PAGE[0] / (sum(across) + GAP * len(columns)), PAGE[1] / sum(down))


def _column(width: float, numeric: bool) -> str:
    if not width:
        return "r" if numeric else "l"
    side = "raggedleft" if numeric else "raggedright"
    return rf">{{\{side}\arraybackslash}}p{{{width:.1f}em}}"


def _row(texts: Sequence[str], broken: Sequence[bool]) -> str:
    return " & ".join(escaped(text, wrap) for text, wrap in zip(texts, broken, strict=True)) + r" \\"


def escaped(text: str, wrap: bool = False) -> str:
    """A text on one line, in which nothing means anything to LaTeX.

    Args: wrap, whether a line may end after each of its strokes, underscores and signs of equality.
    """
    plain = SPECIAL.sub(lambda found: ESCAPED.get(found[0], "$-$"), " ".join(text.split()))
    return re.sub(r"(/|\\_|=)(?=\S)", r"\1\\allowbreak{}", plain) if wrap else plain
