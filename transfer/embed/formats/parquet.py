"""Apache Parquet: a row an image, with its name, its class and its features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from transfer.embed.formats import Format

if TYPE_CHECKING:
    from transfer.embed.table import Table


def write(path: Path, table: Table) -> list[Path]:
    """Columns name, class, x and y where there is a map, and features, a list of D float32."""
    import pyarrow as arrow
    from pyarrow import parquet

    from pretrain.runtime.files import write_atomically
    from pretrain.runtime.printable import printable

    columns, width = table.columns(), table.rows.shape[1]
    kinds = {name: arrow.string() if isinstance(of[0], str) else arrow.float32() for name, of in columns.items()}
    schema = arrow.schema([*kinds.items(), ("features", arrow.list_(arrow.float32(), width))])

    def fill(draft: Path) -> None:
        """Write a row group a block: the features of a large set do not fit in memory."""
        with parquet.ParquetWriter(str(draft), schema) as writer:
            for where, block in table.blocks():
                own = [
                    [printable(one) if isinstance(one, str) else one for one in of[where]] for of in columns.values()
                ]
                arrays = [arrow.array(values, kind) for values, kind in zip(own, kinds.values(), strict=True)]
                rows = arrow.FixedSizeListArray.from_arrays(arrow.array(block.ravel(), arrow.float32()), width)
                writer.write_table(arrow.table([*arrays, rows], schema=schema))

    return [write_atomically(path, fill)]


FORMAT = Format(".parquet", "a row an image: name, class, features", write, needs={"pyarrow": "pyarrow"})
