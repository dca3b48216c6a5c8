"""What evaluating frozen features costs: k-NN beside a plain matrix product, several linear settings beside one."""

from __future__ import annotations

import resource
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional

from pretrain.runtime.errors import UserError
from tools.benchmarks import timing
from tools.benchmarks.reference.checks import Check
from tools.benchmarks.timing import Spread
from transfer.classifiers import knn, racing_heads, sgd_heads
from transfer.classifiers.head_options import Head
from transfer.features.extract import Features, RowFile

K = 200  # the official setting, the dearer of the two
CHECKED, APART = (64, 20_000), 1e-5  # queries and rows of the bank that are compared; float32 against float64
BLOCK = 2**14  # rows drawn at once
SHARE = 0.1  # held out in a race


@dataclass(frozen=True)
class Search:
    """Seconds of k-NN and of the plain float32 product of the same size. speed: product over k-NN, 1 is as fast."""

    queries: int
    bank: int
    width: int
    seconds: Spread
    product: Spread
    speed: Spread
    peak_gib: float


@dataclass(frozen=True)
class Race:
    """Seconds of training `settings` settings at once and of training one. ratio: several over one."""

    rows: int
    width: int
    classes: int
    epochs: int
    settings: int
    seconds: Spread
    single: Spread
    ratio: Spread


def draw(rows: int, width: int, seed: int) -> Iterator[torch.Tensor]:
    """Random rows, BLOCK at a time."""
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, rows, BLOCK):
        yield torch.randn(min(BLOCK, rows - start), width, generator=generator)


def neighbours_apart(width: int) -> Iterator[Check]:
    """Cosines that the search finds in blocks are the largest of all, in float64."""
    queries, bank = (torch.cat(list(draw(rows, width, seed))) for seed, rows in enumerate(CHECKED))
    found, places = knn.nearest(bank, queries, K)
    every = functional.normalize(queries.double()) @ functional.normalize(bank.double()).T
    best = every.topk(K).values
    yield Check("cosines of the k nearest, largest difference to float64", (found - best).abs().max().item(), APART)
    at = (every.gather(1, places) - best).abs().max().item()
    yield Check("cosines at the places that were found, the same", at, APART)


def search(queries: int, bank: int, width: int, repeats: int) -> Search:
    """The cost of the K nearest in a bank on disk, which is written to a temporary folder first.

    Raises:
        UserError: the bank does not fit on the disk, or has fewer than K rows.
    """
    knn.check_neighbours(K, bank)
    asked = torch.cat(list(draw(queries, width, 1)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bank.f32")
        try:
            with open(path, "wb") as file:
                for part in draw(bank, width, 0):
                    file.write(part.numpy().tobytes())
        except OSError as error:
            size = bank * width * 4 / 2**30
            raise UserError(f"a bank of {size:.1f} GiB cannot be written to {folder} ({error.strerror}).") from error
        train, val = (Features(rows, torch.zeros(0), (), (), 0.0) for rows in (RowFile(path, (bank, width)), asked))
        cuts, device = [k for k, _ in knn.SETTINGS], torch.device("cpu")
        contenders = {
            "product": lambda: _product(asked, bank),
            "knn": lambda: knn.neighbours_of(train, val, cuts, device),
        }
        times = timing.take_turns(contenders, repeats, device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    both = timing.spread(times["knn"]), timing.spread(times["product"])
    return Search(queries, bank, width, *both, timing.faster(times["product"], times["knn"]), peak)


def _product(queries: torch.Tensor, bank: int) -> None:
    """queries times a bank of that many rows: the same blocks as the search has, and nothing else, all in memory."""
    block = queries.new_ones(min(knn.BANK, bank), queries.shape[1])
    for chunk in queries.split(knn.QUERIES):
        result = chunk.new_empty(len(chunk), len(block))
        for start in range(0, bank, len(block)):
            count = min(len(block), bank - start)
            torch.mm(chunk, block[:count].T, out=result[:, :count])


def compete(rows: int, width: int, classes: int, epochs: int, repeats: int) -> Race:
    """The cost of the default grid of settings on random rows with a direction for each class."""
    labels = torch.arange(rows) % classes
    centres = torch.cat(list(draw(classes, width, 2)))
    train = Features(torch.cat(list(draw(rows, width, 3))) + centres[labels], labels, (), (), 0.0)
    several = Head(epochs=epochs)
    single = Head(epochs=epochs, lrs=several.lrs[1:2], weight_decays=several.weight_decays[:1])
    contenders = {
        name: lambda given=options: racing_heads.race(
            train, classes, given, sgd_heads.settings(given, given.batch_size), SHARE, 0, torch.device("cpu")
        )
        for name, options in (("single", single), ("several", several))
    }
    times = timing.take_turns(contenders, repeats, torch.device("cpu"))
    both = timing.spread(times["several"]), timing.spread(times["single"])
    ratio = timing.faster(times["several"], times["single"])
    return Race(rows, width, classes, epochs, len(sgd_heads.settings(several, 1)), *both, ratio)


def search_line(cost: Search) -> str:
    """A search in words."""
    return (
        f"{cost.queries} queries x {cost.bank} rows x {cost.width}: k-NN {cost.seconds.text(1, 2)} s, plain product "
        f"{cost.product.text(1, 2)} s; speed of the product {cost.speed.text(1, 2)} (at least 0.7 wanted); peak memory "
        f"{cost.peak_gib:.2f} GiB"
    )


def race_line(cost: Race) -> str:
    """A race in words."""
    return (
        f"{cost.rows} rows x {cost.width}, {cost.classes} classes, {cost.epochs} epochs: {cost.settings} settings "
        f"{cost.seconds.text(1, 2)} s, one {cost.single.text(1, 2)} s; ratio {cost.ratio.text(1, 2)} (below 1.5 wanted)"
    )
