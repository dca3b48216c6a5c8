"""Public data sets for transfer, one file each; a file that is put into this folder, with BENCHMARKS, holds some.

None of these files imports torch or torchvision while it is imported, so that `tools/evaluate.py --help` and
`tools/prepare_data.py --help` answer at once.
"""

from __future__ import annotations

from functools import cache

from pretrain.runtime.errors import UserError
from pretrain.runtime.registry import collect
from transfer.datasets.benchmark import Benchmark


@cache
def benchmarks() -> dict[str, Benchmark]:
    """Every data set by its name, in alphabetical order."""
    found: list[Benchmark] = [one for group in collect(__name__, "BENCHMARKS") for one in group]
    by_name = {one.name: one for one in sorted(found, key=lambda one: one.name)}
    assert len(by_name) == len(found), f"two data sets have one name: {sorted(one.name for one in found)}"
    return by_name


def find_benchmark(name: str) -> Benchmark:
    """The data set of that name.

    Raises:
        UserError: there is none.
    """
    if name not in benchmarks():
        raise UserError(f"the data set '{name}' is not known: choose among {', '.join(benchmarks())}.")
    return benchmarks()[name]
