"""The data sets that `tools/prepare_data.py` prepares, one file each; a file put into this folder is one more.

Such a file offers `DATASET`, a `base.DataSet`. None of these files imports torch while it is imported, so that
`tools/prepare_data.py --help` answers at once.
"""

from __future__ import annotations

from pretrain.runtime.registry import collect
from tools.datasets.base import DataSet


def all_datasets() -> dict[str, DataSet]:
    """Every data set by its name."""
    return {dataset.name: dataset for dataset in collect(__name__, "DATASET")}
