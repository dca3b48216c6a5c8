"""The Markdown table of the GPU benchmark."""

from __future__ import annotations

from tools.benchmarks.gpu.part import Reading

HEADER = "| part | what | value | ratio | beside | note |\n|---|---|---|---|---|---|"


def row(reading: Reading) -> str:
    """A row under HEADER."""
    cells = (reading.part, reading.what, reading.value, reading.ratio, reading.beside, reading.note)
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
