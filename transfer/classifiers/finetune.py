"""Few-label evaluation: the whole network fine-tuned on a few labelled images, and its accuracy on val afterwards."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from pretrain.augment.normalisation import normalise
from pretrain.data.sources import ImageSource
from pretrain.models.pixels import pixels_of
from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError
from transfer.classifiers.accuracy import hits, reported
from transfer.classifiers.finetune_options import FineTune
from transfer.classifiers.schedules import schedule
from transfer.datasets.labelled import thinned
from transfer.datasets.samplers import EpochBatches
from transfer.datasets.subsets import check_classes, readable
from transfer.features.augmented import training_batches
from transfer.features.extract import extract_with, placed
from transfer.features.on_device import autocast, to_device
from transfer.features.pictures import name_unreadable, shown
from transfer.options import Common

Fitted = tuple[nn.Sequential, dict[str, Any]]  # a trained network, and its details


class Diverged(UserError):
    """A loss that is not finite."""


@dataclass(frozen=True)
class FineTuned:
    """metrics in percent. skipped_train, skipped_val: numbers of unreadable images. details: batch and rates in use.

    hits: for each metric what is right, by the image's key.
    """

    metrics: dict[str, float]
    skipped_train: int
    skipped_val: int
    details: dict[str, Any]
    hits: dict[str, dict[str, bool]]


def add_head(trunk: nn.Module, width: int, classes: int, seed: int) -> nn.Sequential:
    """The trunk and a linear classifier drawn from N(0, 0.01), bias 0, as in Barlow Twins, VICReg and TWIST.

    Args:
        trunk: from images to (n, width) features.
        width: of the features.
        classes: number of classes.
        seed: of the classifier's weights.
    """
    head = nn.Linear(width, classes)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head.weight.normal_(0.0, 0.01, generator=generator)
        head.bias.zero_()
    return nn.Sequential(trunk, head)


def protocol(options: FineTune, common: Common, labelled: str) -> str:
    """The human name of fine-tuning on the images called `labelled`."""
    steps = f" at {options.milestones}" if options.schedule == "step" else ""
    lrs = f"lr {options.lr_trunk:g} trunk / {options.lr_head:g} head"
    if options.sweep:
        lrs = f"lr chosen on other images of train among {', '.join(f'{lr:g}' for lr in options.sweep)}"
    return (
        f"fine-tuning on {labelled}: {options.epochs} epochs, batch {common.batch_size}, {lrs} per "
        f"{options.reference_batch}, {options.schedule}{steps}, batch norm in train mode"
    )


def finetune_and_score(
    trunk: nn.Module,
    width: int,
    train: ImageSource,
    val: ImageSource,
    options: FineTune,
    common: Common,
    device: torch.device,
    rest: ImageSource | None = None,
) -> FineTuned:
    """Fine-tune trunk and a new head on `train`, then score val with the last epoch's weights.

    Batch norm is in train mode while fine-tuning, the field's practice, and uses its running statistics on val. Random
    resized crops and flips are the only augmentation. A batch larger than the training set becomes the whole set.
    Several processes share every batch and the scoring; where the trunk's norms are pretrain.models.batchnorm's,
    statistics and gradients are those of the whole batch, so that their number changes nothing but the rounding.

    Args:
        trunk: from images to rows (n, width); it is changed, unless there is a sweep.
        width: channels of a row.
        train: the labelled images.
        val: the images to score.
        options: of the training.
        common: how images are read, the batch, and the seed.
        device: where to train.
        rest: the images of train without a label, of which a sweep uses the labels to choose among its rates.

    Raises:
        UserError: unreadable images leave a class or a batch without any, a sweep has no other images, or a loss is not
            finite.
    """
    train, unreadable = _readable(train, common)

    def fitted(body: nn.Module, chosen: FineTune) -> Fitted:
        """A copy of the trunk with a head, trained."""
        network = placed(add_head(body, width, len(train.classes), common.seed), device)
        return network, fit(network, train, chosen, common, device)

    if not options.sweep:
        network, details = fitted(trunk, options)
    else:
        network, details = _sweep(trunk, fitted, rest, options, common, device)
    hit = _scored(network, val, common, device, "scores of val")
    skipped = len(val) - len(hit["top1"])
    return FineTuned(_shares(hit), len(unreadable), skipped, details, hit)


def _readable(train: ImageSource, common: Common) -> tuple[ImageSource, list[str]]:
    """`train` without its unreadable images, which are named, and why they are; every class still has some."""
    kept, unreadable = readable(train, common.workers, common.timeout_minutes)
    if distributed.rank() == 0:
        name_unreadable(unreadable)
    least = max(2, distributed.world_size())
    if len(kept) < least:
        raise UserError(f"fine-tuning needs at least {least} readable images: see the labelled part of {train.where}.")
    if unreadable:
        check_classes(kept)
    return kept, unreadable


def _scored(
    network: nn.Module, source: ImageSource, common: Common, device: torch.device, what: str
) -> dict[str, dict[str, bool]]:
    """By metric what is right of all of `source`, by the key of an image that can be read; a rank scores a share."""
    mine = source.select(distributed.share(len(source)))
    scores = extract_with(common, network, mine, device, what, precision="fp32")  # the network is not a frozen trunk
    cuts = reported(len(source.classes))
    own = torch.stack([hits(scores.rows[:], scores.labels, k) for k in cuts], dim=1).tolist()
    hit: dict[str, list[bool]] = {}  # by name, so that an image that was dealt twice counts once
    for part in distributed.gathered(dict(zip(scores.names, own, strict=True))):
        hit |= part
    return {f"top{k}": {name: right[at] for name, right in hit.items()} for at, k in enumerate(cuts)}


def _shares(hits: dict[str, dict[str, bool]]) -> dict[str, float]:
    """Accuracy in percent, by metric."""
    of_metric = {name: torch.tensor(list(hit.values()), dtype=torch.float64) for name, hit in hits.items()}
    return {name: hit.mean().item() * 100 for name, hit in of_metric.items()}


def _sweep(
    trunk: nn.Module,
    fitted: Callable[[nn.Module, FineTune], Fitted],
    rest: ImageSource | None,
    options: FineTune,
    common: Common,
    device: torch.device,
) -> Fitted:
    """The network of the rate that does best on other images of train, with the top-1 of each rate in its details."""
    if rest is None or not len(rest):
        raise UserError("a sweep chooses on images of train that are not labelled, and there are none: label fewer.")
    choosing = thinned(rest, options.sweep_images)
    best: Fitted | None = None
    rivals: dict[str, float | None] = {}
    highest = -math.inf
    for lr in options.sweep:
        try:
            network, details = fitted(copy.deepcopy(trunk), replace(options, lr_trunk=lr, lr_head=lr))
        except Diverged:  # on all ranks alike
            rivals[f"{lr:g}"] = None
            continue
        metrics = _shares(_scored(network, choosing, common, device, f"choosing with lr {lr:g}"))
        rivals[f"{lr:g}"] = metrics["top1"]
        if best is None or metrics["top1"] > highest:
            highest, best = metrics["top1"], (network, details)
    if best is None:
        raise UserError(f"every lr of sweep={options.sweep} diverged: lower them, or use precision=fp32.")
    return best[0], best[1] | {"chosen_on": len(choosing), "held_out_top1": rivals}


def fit(
    network: nn.Sequential,
    train: ImageSource,
    options: FineTune,
    common: Common,
    device: torch.device,
    marks: np.ndarray | None = None,
    steps: int | None = None,
) -> dict[str, float]:
    """Train on all images; the batch and the rates in use, and the mean loss of the last epoch, or part of one.

    Args:
        network: trunk and head; it is changed.
        train: readable images.
        options: of the training.
        common: how images are read, the batch, and the seed.
        device: where to train.
        marks: of images that show several classes, the rows that the labels of `train` name, as of `Labelled.marks`.
        steps: in place of options.epochs; then rates fall from step to step, not from epoch to epoch.

    Raises:
        Diverged: a loss is not finite.
    """
    ranks = distributed.world_size()
    batch_size = min(common.batch_size, len(train) // ranks * ranks)
    scale = batch_size / options.reference_batch
    lrs = (options.lr_trunk * scale, options.lr_head * scale)
    if distributed.rank() == 0:
        _say_batch(options, common, batch_size, lrs)
    optimizer = _sgd(network, lrs, options)
    factor = schedule(options)
    batches = EpochBatches(len(train), batch_size, options.epochs, common.seed, ranks, steps)
    reader = training_batches(train, batches, options.min_scale, common, device)
    labels, losses = to_device(_truth(train, marks), device), []
    parallel = distributed.data_parallel(network.train(), device)
    for step, (images, indices, reasons) in enumerate(shown(reader, batches.images_in_all // ranks, "fine-tuning")):
        if reasons:
            raise UserError(f"an image that could be read before cannot any more: {reasons[0]}; see its disk.")
        epoch = step // batches.per_epoch
        _set_rates(optimizer, lrs, factor(step / steps if steps else epoch / options.epochs))
        named = labels[indices.to(device, non_blocking=True)]
        losses.append(_step(parallel, optimizer, images, named, options.precision))
        if (step + 1) % batches.per_epoch == 0 or step + 1 == batches.steps:
            loss, losses = _mean_loss(losses, epoch), []
    return {"batch_size_used": batch_size, "lr_trunk_used": lrs[0], "lr_head_used": lrs[1], "last_loss": loss}


def _truth(train: ImageSource, marks: np.ndarray | None) -> torch.Tensor:
    """Classes (n,) of the images, or where there are marks their rows (n, classes), as `cross_entropy` takes them."""
    return torch.tensor(train.labels) if marks is None else torch.from_numpy(marks[list(train.labels or ())])


def _sgd(network: nn.Sequential, lrs: tuple[float, float], options: FineTune) -> torch.optim.SGD:
    """SGD with a learning rate for the trunk and one for the head."""
    groups = [{"params": part.parameters(), "lr": lr} for part, lr in zip(network, lrs, strict=True)]
    momentum, decay = options.momentum, options.weight_decay
    return torch.optim.SGD(groups, momentum=momentum, nesterov=options.nesterov, weight_decay=decay)


def _set_rates(optimizer: torch.optim.SGD, lrs: tuple[float, float], factor: float) -> None:
    """Those of trunk and head, times the schedule's factor."""
    for group, lr in zip(optimizer.param_groups, lrs, strict=True):
        group["lr"] = lr * factor


def _say_batch(options: FineTune, common: Common, batch_size: int, lrs: tuple[float, float]) -> None:
    clipped = f", the whole set, instead of {common.batch_size}" if batch_size < common.batch_size else ""
    print(
        f"fine-tuning with batch {batch_size}{clipped}: lr {lrs[0]:.3g} for the trunk, {lrs[1]:.3g} for the head (from "
        f"{options.lr_trunk:g} and {options.lr_head:g} at batch {options.reference_batch}); batch norm in train mode",
        flush=True,
    )


def _step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: torch.Tensor,
    labels: torch.Tensor,
    precision: str,
) -> torch.Tensor:
    """One SGD step on this rank's uint8 images (n, 3, S, S); their mean cross-entropy before it, on labels' device."""
    images = normalise(images.to(labels.device, non_blocking=True), pixels_of(network)).contiguous(
        memory_format=torch.channels_last
    )
    with autocast(precision, labels.device):
        loss = cross_entropy(network(images).float(), labels)
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()
    return loss.detach()


def cross_entropy(scores: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """The mean over images: of the softmax for labels (n,), or the sum over classes for marks (n, classes)."""
    if truth.dim() == 1:
        return functional.cross_entropy(scores, truth)
    known = (truth >= 0).to(scores)
    each = functional.binary_cross_entropy_with_logits(scores, truth.clamp(min=0).to(scores), known, reduction="sum")
    return each / len(truth)


def _mean_loss(losses: list[torch.Tensor], epoch: int) -> float:
    """Over an epoch and all ranks, so that all of them see a divergence."""
    mean = distributed.all_mean(torch.stack(losses).mean()).item()
    if not math.isfinite(mean):
        raise Diverged(f"the loss is {mean} in epoch {epoch + 1}: lower lr_trunk and lr_head, or use precision=fp32.")
    return mean
