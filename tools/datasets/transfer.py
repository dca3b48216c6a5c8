"""The public data sets of transfer: where each file comes from, unpacked where it was fetched, checked and counted."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import write_atomically
from pretrain.runtime.options.arguments import a_path
from tools.datasets.base import DataSet
from tools.datasets.unpacking.archives import Archive, check_digest, in_one_sentence, unpack
from transfer.datasets.benchmark import Benchmark, Remote
from transfer.datasets.benchmarks import benchmarks, find_benchmark
from transfer.datasets.opening import faults, read_splits


def add_options(parser: argparse.ArgumentParser) -> None:
    """ROOT, which sets, and where their archives lie."""
    parser.add_argument("root", type=a_path, metavar="ROOT", help="the folder of all sets, as torchvision's root")
    parser.add_argument("--sets", default="", metavar="NAMES", help="of those that must be there (default: none must)")
    parser.add_argument("--archives", type=a_path, metavar="DIR", help="where fetched files lie (default ROOT)")
    parser.add_argument("--check", action="store_true", help="unpack nothing, say what is missing or different")
    parser.add_argument("--unverified", action="store_true", help="do not hold archives against known digests")


def prepare(args: argparse.Namespace) -> None:
    """Tell of each set where its files come from and what is there.

    Raises:
        UserError: a set that was named is missing, incomplete or of another version, or an archive is not the official.
    """
    asked = [name for name in args.sets.split(",") if name]
    chosen = [find_benchmark(name) for name in asked] or [one for one in benchmarks().values() if one.folder != "."]
    args.root.mkdir(parents=True, exist_ok=True)
    wrong = []
    for one in chosen:
        if not args.check:
            _unpack(one.files(), args.archives or args.root, args.root, not args.unverified)
        found = differences(one, args.root)
        print(f"{one.title} ({one.name}): {'; '.join(found) if found else complete(one)}", flush=True)
        if found:
            print("\n".join(_sources(one, args.archives or args.root)), flush=True)
            wrong.append(one.title)
    if asked and wrong:
        raise UserError(f"{', '.join(wrong)} below {args.root} cannot be used: see above what is missing or different.")


def differences(benchmark: Benchmark, root: Path) -> list[str]:
    """Sentences on what is not as published; empty where all is."""
    if not benchmark.is_there(root):
        return [f"not there, expected in {root / benchmark.folder}"]
    try:
        return faults(benchmark, read_splits(benchmark, root))
    except UserError as error:
        return [str(error).rstrip(".")]


def complete(benchmark: Benchmark) -> str:
    """What a set holds, in words."""
    counts = ", ".join(f"{count:,} {split}" for split, count in benchmark.counts.items())
    return f"complete, {benchmark.classes} classes, {counts}"


def _sources(benchmark: Benchmark, archives: Path) -> Sequence[str]:
    lines = []
    for remote in benchmark.files():
        digest = remote.digest.replace(":", " ") or "no checksum is known"
        lines.append(f"  fetch {remote.url} into {archives} ({digest})")
    if lines:
        lines.append("  and run this again, which unpacks it")
    return [*lines, f"  note: {benchmark.note}"] if benchmark.note else lines


def _unpack(remotes: Sequence[Remote], archives: Path, root: Path, verify: bool) -> None:
    """Unpack or copy what lies in `archives`; what was unpacked before is left alone."""
    for remote in remotes:
        path = archives / remote.name
        if not path.is_file():
            continue
        if remote.place is not None:
            unpack(Archive(remote.name, remote.digest, remote.place), archives, root, verify)
        elif not (root / remote.goes).is_file():
            with in_one_sentence(path):
                if verify and remote.digest:
                    check_digest(path, remote.digest)
                write_atomically(root / remote.goes, partial(shutil.copyfile, path))


DATASET = DataSet(
    "transfer",
    "say where the public sets of transfer come from, unpack those fetched, check them",
    add_options,
    prepare,
)
