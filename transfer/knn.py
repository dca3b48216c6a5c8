"""Weighted k-nearest-neighbour classification on frozen features (Wu et al., 2018; settings of UniGrad and of DINO)."""

from __future__ import annotations

import torch
from torch.nn import functional

from transfer.accuracy import top
from transfer.features import Features

SETTINGS = ((200, 0.1), (20, 0.07))  # (k, T): the official UniGrad code's, then DINO's
SIMILARITIES = 2**26  # cosines held at once: 256 MiB of float32


def votes(
    train: torch.Tensor, labels: torch.Tensor, queries: torch.Tensor, classes: int, k: int, temperature: float
) -> torch.Tensor:
    """Σ over the k nearest training rows of each class of exp((cos - 1) / T), (m, classes) in the rows' precision.

    The constant factor exp(-1/T) keeps the weights at most 1 and changes no ranking. k must not exceed len(train).

    Args: train (n, D) and queries (m, D) of any length, compared after l2 normalisation; labels (n,).
    """
    train = functional.normalize(train, dim=1)
    scores = []
    for chunk in functional.normalize(queries, dim=1).split(max(1, SIMILARITIES // len(train))):
        cosines, nearest = (chunk @ train.T).topk(k, dim=1)
        weights = ((cosines - 1) / temperature).exp()
        scores.append(weights.new_zeros(len(chunk), classes).scatter_add_(1, labels[nearest], weights))
    return torch.cat(scores)


def settings(images: int, classes: int) -> list[tuple[int, float]]:
    """SETTINGS, first those whose k nearest could all be of one class: the first is the reading to quote.

    Where classes have fewer images than k, images of other classes fill the vote however good the features are.
    """
    return sorted(SETTINGS, key=lambda setting: setting[0] * classes > images)


def protocol(images: int) -> str:
    """The human name of this evaluation for a training set of `images` images."""
    clipped = [f"k={k} clipped to the {images} training images" for k, _ in SETTINGS if k > images]
    return "; ".join(["k-NN on l2-normalised trunk features, weights exp(cos/T)", *clipped])


def evaluate(train: Features, val: Features, classes: int, device: torch.device) -> dict[str, float]:
    """Top-1 in percent in the order of `settings`, as {"top1 k=200 T=0.1": ...}; k is clipped to the training set."""
    rows, labels, queries = (tensor.to(device) for tensor in (train.rows, train.labels, val.rows))
    return {
        f"top1 k={k} T={temperature:g}": top(
            votes(rows, labels, queries, classes, min(k, len(rows)), temperature).cpu(), val.labels, 1
        )
        for k, temperature in settings(len(rows), classes)
    }
