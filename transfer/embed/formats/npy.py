"""NumPy's .npy, (n, D) float32, with the names of the rows in a CSV file beside it."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from transfer.embed.formats import Format

if TYPE_CHECKING:
    from transfer.embed.table import Table


def write(path: Path, table: Table) -> list[Path]:
    """NAME.npy and NAME.csv, whose lines are the rows in their order."""
    import numpy as np

    from pretrain.runtime.files import write_atomically, write_text

    def fill(draft: Path) -> None:
        """Write the rows block by block: the features of a large set do not fit in memory."""
        shape = len(table.rows), table.rows.shape[1]
        into = np.lib.format.open_memmap(draft, "w+", np.float32, shape)
        for where, block in table.blocks():
            into[where] = block
        into.flush()

    text = io.StringIO()
    writer, columns = csv.writer(text, lineterminator="\n"), table.columns()
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return [write_text(path.with_suffix(".csv"), text.getvalue()), write_atomically(path, fill)]


FORMAT = Format(".npy", "float32 (images, channels), and NAME.csv beside it with name and class of each row", write)
