"""The one call of tools/report.py: folders in, report.html and report.md out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pretrain.errors import UserError
from pretrain.files import write_text
from transfer.report.content import compose
from transfer.report.found import find
from transfer.report.markdown import write_markdown
from transfer.report.page import to_html


def write_report(folders: Sequence[str | Path], out: str | Path) -> tuple[Path, Path]:
    """Write OUT/report.html (self-contained) and OUT/report.md with OUT/figures/, from all that lies below `folders`.

    Returns: the paths of both.

    Raises:
        UserError: a folder is missing, nothing of ours was found, or `out` cannot be a folder.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file: give the folder that the report shall be written to.")
    document = compose(find(folders))
    return write_text(out / "report.html", to_html(document)), write_markdown(document, out)
