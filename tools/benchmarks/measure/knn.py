"""What k-NN in a bank on disk costs beside a plain matrix product of that size, and how much memory it takes."""

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
from tools.benchmarks.measure.features import random_features
from tools.benchmarks.reference.checks import Check
from tools.benchmarks.timing import Spread
from transfer.classifiers import knn
from transfer.features.rows import Features, RowFile

K = 200  # the official setting, the dearer of the two
CHECKED, APART = (64, 20_000), 1e-5  # queries and rows of the bank that are compared; float32 against float64


@dataclass(frozen=True)
class Cost:
    """Seconds of k-NN and of the plain float32 product of the same size. speed: product over k-NN, 1 is as fast."""

    queries: int
    bank: int
    width: int
    seconds: Spread
    product: Spread
    speed: Spread
    peak_gib: float


def search_checks(width: int) -> Iterator[Check]:
    """Cosines that the search finds in blocks are the largest of all, in float64."""
    queries, bank = (torch.cat(list(random_features(rows, width, seed))) for seed, rows in enumerate(CHECKED))
    found, places = knn.nearest(bank, queries, K)
    every = functional.normalize(queries.double()) @ functional.normalize(bank.double()).T
    best = every.topk(K).values
    yield Check("cosines of the k nearest, largest difference to float64", (found - best).abs().max().item(), APART)
    at = (every.gather(1, places) - best).abs().max().item()
    yield Check("cosines at the places that were found, the same", at, APART)


def measure(queries: int, bank: int, width: int, repeats: int, device: torch.device) -> Cost:
    """The cost of the K nearest in a bank on disk, which is written to a temporary folder first.

    Args:
        queries: rows whose neighbours are sought.
        bank: rows among which they are sought.
        width: channels of every row.
        repeats: rounds.
        device: where cosines are computed.

    Raises:
        UserError: the bank does not fit on the disk, or has fewer than K rows.
    """
    knn.check_neighbours(K, bank)
    asked = torch.cat(list(random_features(queries, width, 1)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bank.f32")
        try:
            with open(path, "wb") as file:
                for part in random_features(bank, width, 0):
                    file.write(part.numpy().tobytes())
        except OSError as error:
            size = bank * width * 4 / 2**30
            raise UserError(f"a bank of {size:.1f} GiB cannot be written to {folder} ({error.strerror}).") from error
        train, val = (Features(rows, torch.zeros(0), (), (), 0.0) for rows in (RowFile(path, (bank, width)), asked))
        cuts = [k for k, _ in knn.SETTINGS]
        contenders = {
            "product": lambda: plain_product(asked.to(device), bank),
            "knn": lambda: knn.neighbours_of(train, val, cuts, device),
        }
        times = timing.take_turns(contenders, repeats, device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    both = timing.spread(times["knn"]), timing.spread(times["product"])
    return Cost(queries, bank, width, *both, timing.faster(times["product"], times["knn"]), peak)


def plain_product(queries: torch.Tensor, bank: int) -> None:
    """queries times a bank of that many rows: the search's blocks and nothing else, all on one device."""
    block = queries.new_ones(min(knn.BANK, bank), queries.shape[1])
    for chunk in torch.split(queries, knn.QUERIES):
        result = chunk.new_empty(len(chunk), len(block))
        for start in range(0, bank, len(block)):
            count = min(len(block), bank - start)
            torch.mm(chunk, block[:count].T, out=result[:, :count])


def line(cost: Cost) -> str:
    """A search in words."""
    return (
        f"{cost.queries} queries x {cost.bank} rows x {cost.width}: k-NN {cost.seconds.text(1, 2)} s, plain product "
        f"{cost.product.text(1, 2)} s; speed of the product {cost.speed.text(1, 2)} (at least 0.7 wanted); peak memory "
        f"{cost.peak_gib:.2f} GiB"
    )
