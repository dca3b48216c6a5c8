"""Public benchmarks: their archives are unpacked where detectron2 looks, and what must be there is counted.

ROOT is the folder that DETECTRON2_DATASETS names. Counts are the publishers' own.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pretrain.runtime.errors import UserError
from pretrain.runtime.options.arguments import a_path
from tools.datasets.base import DataSet
from tools.datasets.unpacking.archives import Archive, unpack


@dataclass(frozen=True)
class Benchmark:
    """archives: returns what the publisher offers. faults: ROOT to sentences on what is missing or too short.

    unpack: takes the place of `archives.unpack` where an archive holds archives. finish: derives what is needed from
    the unpacked files.
    """

    name: str
    archives: Callable[[], tuple[Archive, ...]]
    faults: Callable[[Path], list[str]]
    unpack: Callable[[Archive, Path, Path, bool], None] = unpack
    finish: Callable[[Path], None] | None = None


def as_dataset(benchmark: Benchmark) -> DataSet:
    """A benchmark as `tools/prepare_data.py` takes it."""
    words = f"unpack the official archives of {benchmark.name} that you have, and check it"
    return DataSet(benchmark.name, words, _add_options, partial(_prepare_from, benchmark))


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", type=a_path, metavar="ROOT", help="the folder that DETECTRON2_DATASETS names")
    parser.add_argument("--archives", type=a_path, metavar="DIR", help="where the archives lie (default ROOT)")
    parser.add_argument("--check", action="store_true", help="unpack nothing, say what is missing or too short")
    parser.add_argument("--unverified", action="store_true", help="do not hold archives against known digests")


def _prepare_from(benchmark: Benchmark, args: argparse.Namespace) -> None:
    prepare_benchmark(benchmark, args.root, args.archives or args.root, not args.unverified, args.check)


def prepare_benchmark(benchmark: Benchmark, root: Path, archives: Path, verify: bool, only_check: bool) -> None:
    """Unpack a benchmark's archives that are there, derive what it needs, and check that all of it is there.

    Args:
        benchmark: what is prepared.
        root: the folder to fill.
        archives: the folder where the archives lie; those that are absent are not needed if their content is there.
        verify: hold the archives against the published digests.
        only_check: unpack and derive nothing.

    Raises:
        UserError: a bad archive (see `archives.unpack`), or anything missing, in one sentence a fault.
    """
    offered = benchmark.archives()
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{root} cannot be made a folder ({error.strerror}): give another one.") from error
    if not only_check:
        for archive in offered:
            if (archives / archive.name).is_file():
                benchmark.unpack(archive, archives, root, verify)
        if benchmark.finish is not None:
            benchmark.finish(root)
    faults = benchmark.faults(root)
    if faults:
        wanted = [archive.name for archive in offered if not (archives / archive.name).is_file()]
        remedy = f"put {', '.join(wanted)} into {archives} and run this again" if wanted else "unpack it again"
        raise UserError(f"{benchmark.name} below {root} is not complete: {'; '.join(faults)}. To mend it, {remedy}.")
    print(f"{benchmark.name} below {root} is complete")


def below(prefix: str, into: str) -> Callable[[str], str | None]:
    """A place for members of an archive: those below `prefix` go below `into`, others stay packed."""

    def place(name: str) -> str | None:
        name = name.removeprefix("./")
        return f"{into}{name.removeprefix(prefix)}" if name.startswith(prefix) else None

    return place
