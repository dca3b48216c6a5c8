"""Every library that conversion writes for: one module each, with its DESTINATION; a dropped-in module is found."""

from __future__ import annotations

from pretrain.runtime.registry import collect
from transfer.convert.destinations.base import Destination

DESTINATIONS: dict[str, Destination] = {one.name: one for one in collect(__name__, "DESTINATION")}


def destinations_table() -> str:
    """The destinations as a table in Markdown, for docs/conversion.md."""
    rows = [
        f"| `{one.name}` | {', '.join(f'`{ending}`' for ending in one.endings)} | {one.help} |"
        for one in DESTINATIONS.values()
    ]
    return "\n".join(["| `--to` | file | what is written, and what checks it |", "|---|---|---|", *rows])
