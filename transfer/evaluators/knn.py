"""Weighted k-nearest-neighbour classification on frozen features (Wu et al., 2018; settings of UniGrad and of DINO)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError
from transfer.evaluators.accuracy import top
from transfer.features.extract import Features, RowFile

SETTINGS = ((200, 0.1), (20, 0.07))  # (k, T): the official UniGrad code's, then DINO's
QUERIES, BANK = 2**13, 2**13  # rows multiplied at once: 256 MiB of float32 cosines
SPARE, APART = 8, 1e-6  # neighbours beyond the last cut, and cosines that float32 may put in the wrong order


def nearest(
    bank: torch.Tensor | RowFile, queries: torch.Tensor | RowFile, k: int, device: torch.device | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines (m, k), falling, of each query's k nearest rows of the bank, and their places (m, k), on the CPU.

    Exact, in the rows' precision: every query meets every row, block by block, and the best k so far are kept, so that
    memory holds one block of cosines and one of each side. Blocks of a bank on disk are read as they come.

    Args: bank (n, D) and queries (m, D) of any length, compared after l2 normalisation; k at most n.
    """
    found = []
    for chunk in queries.split(QUERIES):
        chunk = functional.normalize(chunk.to(device), dim=1)
        best = chunk.new_empty(len(chunk), 0), torch.empty(len(chunk), 0, dtype=torch.int64, device=chunk.device)
        start = 0
        for part in bank.split(BANK):
            cosines = chunk @ functional.normalize(part.to(device), dim=1).T
            values, places = _candidates(cosines, best[0][:, k - 1 :], k)
            values, order = torch.cat([best[0], values], 1).topk(min(k, best[0].shape[1] + values.shape[1]), dim=1)
            best = values, torch.cat([best[1], places + start], 1).gather(1, order)
            start += len(part)
        found.append([tensor.cpu() for tensor in best])
    return tuple(torch.cat(parts) for parts in zip(*found, strict=True))


def _candidates(cosines: torch.Tensor, least: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The cosines (m, B) above `least` (m, 1) and their columns, (m, w) each, filled up with -inf.

    Without a least the k largest: a whole first block would bring 512 MiB of places along.

    Once k are found, a block holds few that are better: picking them costs a fraction of selecting k from the block.
    """
    if not least.shape[1]:
        return cosines.topk(min(k, cosines.shape[1]), dim=1)
    rows, columns = (cosines > least).nonzero(as_tuple=True)
    counts = rows.bincount(minlength=len(cosines))
    slots = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    values = cosines.new_full((len(cosines), int(counts.max())), -torch.inf)
    places = torch.zeros_like(values, dtype=torch.int64)
    values[rows, slots], places[rows, slots] = cosines[rows, columns], columns
    return values, places


def weighted(cosines: torch.Tensor, labels: torch.Tensor, classes: int, temperature: float) -> torch.Tensor:
    """Σ over the neighbours of each class of exp((cos - 1) / T), (m, classes).

    The constant factor exp(-1/T) keeps the weights at most 1 and changes no ranking; T = inf counts neighbours.

    Args: cosines (m, k) and the neighbours' labels (m, k).
    """
    weights = ((cosines - 1) / temperature).exp()
    return weights.new_zeros(len(cosines), classes).scatter_add_(1, labels, weights)


def votes(
    train: torch.Tensor, labels: torch.Tensor, queries: torch.Tensor, classes: int, k: int, temperature: float
) -> torch.Tensor:
    """`weighted` over the k nearest of train (n, D) with labels (n,), for queries (m, D); k must not exceed n."""
    cosines, places = nearest(train, queries, k, train.device)
    return weighted(cosines, labels.cpu()[places], classes, temperature)


def settings(images: int, classes: int) -> list[tuple[int, float]]:
    """SETTINGS, first those whose k nearest could all be of one class: the first is the reading to quote.

    Where classes have fewer images than k, images of other classes fill the vote however good the features are.
    """
    return sorted(SETTINGS, key=lambda setting: setting[0] * classes > images)


def protocol(images: int) -> str:
    """The human name of this evaluation for a training set of `images` images."""
    clipped = [f"k={k} clipped to the {images} training images" for k, _ in SETTINGS if k > images]
    return "; ".join(["k-NN on l2-normalised trunk features, weights exp(cos/T)", *clipped])


def at_most(k: int, images: int) -> None:
    """Refuse a k that was asked for and that the bank does not have.

    Raises:
        UserError: naming both.
    """
    if k > images:
        raise UserError(f"k={k} neighbours are more than the {images} training images: choose a k of at most {images}.")


def neighbours_of(
    train: Features, val: Features, cuts: Sequence[int], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """`nearest` of all of val in train, as many as the largest of `cuts`; the first k of each are exact for k in cuts.

    Each rank searches for its share of val, and all ranks get the whole. Cuts beyond the training set are clipped.
    """
    mine, most = distributed.share(len(val.rows)), min(max(cuts), len(train.rows))
    queries = val.rows if distributed.world_size() == 1 else val.rows[torch.tensor(mine)]
    found = nearest(train.rows, queries, min(most + SPARE, len(train.rows)), device)
    found = settled(train.rows, queries, *found, cuts)
    return tuple(distributed.gather_rows(part[:, :most].to(device), mine, len(val.rows)).cpu() for part in found)


def settled(
    bank: torch.Tensor | RowFile,
    queries: torch.Tensor,
    cosines: torch.Tensor,
    places: torch.Tensor,
    cuts: Sequence[int],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Neighbours in the order of float64 wherever a cut falls between two cosines that float32 does not tell apart.

    Args: cosines and places (m, k) of `nearest`, with a few more neighbours than the largest cut.
    """
    cosines, places = cosines.clone(), places.clone()
    close = torch.zeros(len(cosines), dtype=torch.bool)
    for cut in cuts:
        if cut < cosines.shape[1]:
            close |= cosines[:, cut - 1] - cosines[:, cut] < APART
    for rows in close.nonzero()[:, 0].split(16):
        candidates = functional.normalize(bank[places[rows].flatten()].double(), dim=1)
        candidates = candidates.view(*places[rows].shape, queries.shape[1])
        exact = torch.einsum("rkd,rd->rk", candidates, functional.normalize(queries[rows].double(), dim=1))
        values, order = exact.sort(dim=1, descending=True, stable=True)
        cosines[rows], places[rows] = values.to(cosines), places[rows].gather(1, order)
    return cosines, places


def evaluate(train: Features, val: Features, classes: int, device: torch.device, more: int = 0) -> dict[str, float]:
    """Top-1 in percent in the order of `settings`, as {"top1 k=200 T=0.1": ...}; k is clipped to the training set.

    Args: more, a further number of neighbours, at DINO's temperature; 0 for none.
    """
    images = len(train.rows)
    asked = settings(images, classes) + ([(more, SETTINGS[1][1])] if more else [])
    cosines, places = neighbours_of(train, val, [k for k, _ in asked], device)
    labels = train.labels[places]
    return {
        f"top1 k={k} T={temperature:g}": top(
            weighted(cosines[:, :k], labels[:, :k], classes, temperature), val.labels, 1
        )
        for k, temperature in asked
    }
