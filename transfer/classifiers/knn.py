"""Weighted k-nearest-neighbour classification on frozen features (Wu et al., 2018; settings of UniGrad and of DINO)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError
from transfer.classifiers.accuracy import hits
from transfer.features.on_device import DeviceRows, to_device
from transfer.features.rows import Features, RowFile, blocks

SETTINGS = ((200, 0.1), (20, 0.07))  # (k, T): the official UniGrad code's, then DINO's
QUERIES, BANK = 2**13, 2**13  # rows multiplied at once: 256 MiB of float32 cosines
PASS = 2**16  # queries of one pass over the bank: 512 MiB of them at 2,048 channels
SPARE, APART = 8, 1e-6  # neighbours beyond the last cut, and cosines that float32 may put in the wrong order
Neighbours = tuple[torch.Tensor, torch.Tensor]  # cosines (m, k), falling, and indices (m, k)


def nearest(
    bank: torch.Tensor | RowFile | DeviceRows,
    queries: torch.Tensor | RowFile,
    k: int,
    device: torch.device | None = None,
) -> Neighbours:
    """Cosines (m, k), falling, of each query's k nearest rows of the bank, and their indices (m, k), on the CPU.

    Exact, in the rows' precision: every query meets every row, block by block, and the best k so far are kept, so that
    memory holds the queries of a pass, one block of the bank and one of cosines. The bank is read once a pass; the host
    waits for a GPU once, at the end.

    Args:
        bank: (n, D) rows of any length; they are l2-normalised here.
        queries: (m, D), likewise.
        k: number of neighbours, at most n.
        device: where cosines are computed; None leaves the rows where they are.
    """
    kept = bank if isinstance(bank, DeviceRows) else DeviceRows(bank, device)
    found = [_of_a_pass(kept, queries_, k) for queries_ in blocks(queries, PASS)]
    cosines, indices = (torch.cat(parts).cpu() for parts in zip(*found, strict=True))
    return cosines, indices


def _of_a_pass(bank: DeviceRows, queries: torch.Tensor, k: int) -> Neighbours:
    """`nearest` of some queries, on the device."""
    chunks = [functional.normalize(to_device(chunk, bank.device), dim=1) for chunk in torch.split(queries, QUERIES)]
    best = [(chunk.new_empty(len(chunk), 0), torch.empty_like(chunk[:, :0], dtype=torch.int64)) for chunk in chunks]
    start = 0
    for block in bank.blocks(BANK):
        unit = functional.normalize(block, dim=1)
        best = [_with_block(known, chunk @ unit.T, start, k) for known, chunk in zip(best, chunks, strict=True)]
        start += len(block)
    cosines, indices = (torch.cat(parts) for parts in zip(*best, strict=True))
    return cosines, indices


def _with_block(best: Neighbours, cosines: torch.Tensor, start: int, k: int) -> Neighbours:
    """The best k so far, with those of a block of the bank that begins at row `start`; cosines (m, B) are its."""
    # how many candidates a block brings is known to the device alone: it selects k instead, so that nobody asks
    least = best[0][:, k - 1 :] if not cosines.is_cuda else best[0][:, :0]
    values, indices = _candidates(cosines, least, k)
    values, order = torch.cat([best[0], values], 1).topk(min(k, best[0].shape[1] + values.shape[1]), dim=1)
    return values, torch.cat([best[1], indices + start], 1).gather(1, order)


def _candidates(cosines: torch.Tensor, least: torch.Tensor, k: int) -> Neighbours:
    """The cosines (m, B) above `least` (m, 1) and their columns, (m, w) each, filled up with -inf.

    Without a least the k largest: a whole first block would bring 512 MiB of indices along.

    Once a query has k neighbours, a block holds few that are nearer: picking those costs far less than selecting k.
    """
    if not least.shape[1]:
        largest = cosines.topk(min(k, cosines.shape[1]), dim=1)
        return largest.values, largest.indices
    rows, columns = (cosines > least).nonzero(as_tuple=True)
    counts = rows.bincount(minlength=len(cosines))
    slots = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    values = cosines.new_full((len(cosines), int(counts.max())), -torch.inf)
    indices = torch.zeros_like(values, dtype=torch.int64)
    values[rows, slots], indices[rows, slots] = cosines[rows, columns], columns
    return values, indices


def weighted(cosines: torch.Tensor, labels: torch.Tensor, classes: int, temperature: float) -> torch.Tensor:
    """Σ over the neighbours of each class of exp((cos - 1) / T), (m, classes).

    The constant factor exp(-1/T) keeps the weights at most 1 and changes no ranking; T = inf counts neighbours.

    Args:
        cosines: (m, k), of each query and its neighbours.
        labels: (m, k), of the neighbours.
        classes: number of classes.
        temperature: T.
    """
    weights = ((cosines - 1) / temperature).exp()
    return weights.new_zeros(len(cosines), classes).scatter_add_(1, labels, weights)


def votes(
    train: torch.Tensor, labels: torch.Tensor, queries: torch.Tensor, classes: int, k: int, temperature: float
) -> torch.Tensor:
    """Scores (m, classes): `weighted` over the k nearest rows of train.

    Args:
        train: (n, D) rows.
        labels: (n,), of train.
        queries: (m, D) rows.
        classes: number of classes.
        k: number of neighbours, at most n.
        temperature: T of `weighted`.
    """
    cosines, indices = nearest(train, queries, k, train.device)
    return weighted(cosines, labels.cpu()[indices], classes, temperature)


def settings(images: int, classes: int) -> list[tuple[int, float]]:
    """SETTINGS, first those whose k nearest could all be of one class: the first is the reading to quote.

    Where classes have fewer images than k, images of other classes fill the vote however good the features are.
    """
    return sorted(SETTINGS, key=lambda setting: setting[0] * classes > images)


def protocol(images: int) -> str:
    """The human name of this evaluation for a training set of `images` images."""
    clipped = [f"k={k} clipped to the {images} training images" for k, _ in SETTINGS if k > images]
    return "; ".join(["k-NN on l2-normalised trunk features, weights exp(cos/T)", *clipped])


def check_neighbours(k: int, images: int) -> None:
    """Refuse a k that was asked for and that the bank does not have.

    Raises:
        UserError: naming both.
    """
    if k > images:
        raise UserError(f"k={k} neighbours are more than the {images} training images: choose a k of at most {images}.")


def neighbours_of(
    train: Features, val: Features, cuts: Sequence[int], device: torch.device, bank: DeviceRows | None = None
) -> Neighbours:
    """The neighbours in train of every row of val, as many as the largest of `cuts`, as `nearest` returns them.

    For each k in `cuts` the first k neighbours are exact. Each rank searches for its share of val, and all ranks get
    all neighbours. Cuts beyond the size of train are clipped.

    Args:
        train: features of the training set.
        val: features of the set whose neighbours are searched.
        cuts: the values of k that will be evaluated.
        device: where cosines are computed.
        bank: the rows of train for that device, where the caller has them already.
    """
    mine, most = distributed.share(len(val.rows)), min(max(cuts), len(train.rows))
    queries = val.rows if distributed.world_size() == 1 else val.rows[torch.tensor(mine)]
    cosines, indices = nearest(bank or train.rows, queries, min(most + SPARE, len(train.rows)), device)
    cosines, indices = with_exact_cuts(train.rows, queries, cosines, indices, cuts)

    def of_all_ranks(part: torch.Tensor) -> torch.Tensor:
        return distributed.gather_rows(part[:, :most].to(device), mine, len(val.rows)).cpu()

    return of_all_ranks(cosines), of_all_ranks(indices)


def with_exact_cuts(
    bank: torch.Tensor | RowFile,
    queries: torch.Tensor | RowFile,
    cosines: torch.Tensor,
    indices: torch.Tensor,
    cuts: Sequence[int],
) -> Neighbours:
    """Neighbours in the order of float64 wherever a cut falls between two cosines that float32 does not tell apart.

    Args:
        bank, queries: rows (n, D) and (m, D), as `nearest` had them.
        cosines, indices: (m, k) of `nearest`, with a few more neighbours than the largest cut.
        cuts: the numbers of neighbours that will be looked at.
    """
    cosines, indices = cosines.clone(), indices.clone()
    close = torch.zeros(len(cosines), dtype=torch.bool)
    for cut in cuts:
        if cut < cosines.shape[1]:
            close |= cosines[:, cut - 1] - cosines[:, cut] < APART
    for rows in blocks(close.nonzero()[:, 0], 16):
        candidates = functional.normalize(bank[indices[rows].flatten()].double(), dim=1)
        candidates = candidates.view(*indices[rows].shape, queries.shape[1])
        exact = torch.einsum("rkd,rd->rk", candidates, functional.normalize(queries[rows].double(), dim=1))
        values, order = exact.sort(dim=1, descending=True, stable=True)
        cosines[rows], indices[rows] = values.to(cosines), indices[rows].gather(1, order)
    return cosines, indices


def knn_accuracy(train: Features, val: Features, classes: int, device: torch.device, more: int = 0) -> dict[str, float]:
    """Top-1 in percent in the order of `settings`: the shares of `knn_hits`.

    Args:
        train, val: rows with labels.
        classes: their number.
        device: where to search.
        more: a further number of neighbours, at DINO's temperature; 0 for none.
    """
    found = knn_hits(train, val, classes, device, more)
    return {name: hit.double().mean().item() * 100 for name, hit in found.items()}


def knn_hits(
    train: Features, val: Features, classes: int, device: torch.device, more: int = 0
) -> dict[str, torch.Tensor]:
    """Whether each val row is right (m,), in the order of `settings`, as {"top1 k=200 T=0.1": ...}.

    k is clipped to the training set.

    Args:
        train, val: rows with labels.
        classes: their number.
        device: where to search.
        more: a further number of neighbours, at DINO's temperature; 0 for none.
    """
    images = len(train.rows)
    asked = settings(images, classes) + ([(more, SETTINGS[1][1])] if more else [])
    cosines, indices = neighbours_of(train, val, [k for k, _ in asked], device)
    labels = train.labels[indices]
    return {
        f"top1 k={k} T={temperature:g}": hits(
            weighted(cosines[:, :k], labels[:, :k], classes, temperature), val.labels, 1
        )
        for k, temperature in asked
    }
