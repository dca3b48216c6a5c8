"""Few-label evaluation: the whole network fine-tuned on a few labelled images, and its accuracy on val afterwards."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torchvision.transforms import v2

from pretrain.augment.multicrop import normalise
from pretrain.data.sources import ImageSource
from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError
from transfer.datasets.labelled import thinned
from transfer.datasets.samplers import EpochBatches, RankBatches
from transfer.datasets.subsets import check_classes, readable
from transfer.evaluators import schedules
from transfer.evaluators.accuracy import hits, reported
from transfer.evaluators.schedules import schedule
from transfer.features.extract import Pictures, extract, loader, name_unreadable, resize_for, shown


@dataclass
class FineTune:
    """Options of `semi`; the lrs are those of `reference_batch` images and are scaled linearly to the batch in use.

    image_list: text file of the labelled images' names, of which a share of max_absent may be missing, counted among
    the names of known classes; where it is empty, `fraction` of every class is drawn from `seed`. sweep: lrs of trunk
    and head alike, in place of lr_trunk and lr_head, of which the best is chosen on sweep_images other images of train
    (BYOL's protocol). resize: short side before the centre crop of val, 0 for 256/224 of image_size. schedule: cosine
    to 0, step (× gamma at each of `milestones`, in epochs) or constant, changing from epoch to epoch as in the field's
    scripts. min_scale: smallest share of an image's area that a training crop keeps. workers: loader processes.
    threads: of the network on a CPU, 0 leaves torch's choice. device: auto|cpu|cuda. precision: fp32|bf16.
    """

    image_list: str = ""
    max_absent: float = 0.01
    fraction: float = 1.0
    sweep: list[float] = field(default_factory=list)
    sweep_images: int = 10009
    image_size: int = 224
    resize: int = 0
    batch_size: int = 256
    reference_batch: int = 256
    lr_trunk: float = 0.02
    lr_head: float = 0.2
    epochs: int = 20
    schedule: str = "cosine"
    milestones: list[int] = field(default_factory=lambda: [12, 16])
    gamma: float = 0.2
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    min_scale: float = 0.08
    seed: int = 0
    workers: int = 4
    threads: int = 0
    device: str = "auto"
    precision: str = "fp32"


class Diverged(UserError):
    """A loss that is not finite."""


@dataclass(frozen=True)
class Outcome:
    """metrics in percent. skipped: unreadable training and val images. found: what was settled on the way."""

    metrics: dict[str, float]
    skipped_train: int
    skipped_val: int
    found: dict[str, Any]


def check(options: FineTune) -> None:
    """Refuse values that cannot work, before any image is read.

    Raises:
        UserError: naming the option, its value and what it may be.
    """
    if options.precision not in ("fp32", "bf16"):
        raise UserError(f"precision={options.precision} is not known: choose one of fp32, bf16.")
    positive = ("reference_batch", "lr_trunk", "lr_head", "epochs", "gamma", "min_scale")
    for name in positive:
        if not getattr(options, name) > 0:
            raise UserError(f"{name}={getattr(options, name)} must be above 0.")
    schedules.check(options)
    if options.batch_size < 2:
        raise UserError(f"batch_size={options.batch_size} is too small: batch norm needs at least 2 images.")
    if not all(lr > 0 for lr in options.sweep) or options.sweep_images < 1:
        raise UserError(f"sweep={options.sweep} must hold lrs above 0, and sweep_images={options.sweep_images} images.")
    if not 0 <= options.max_absent <= 1:
        raise UserError(f"max_absent={options.max_absent} must be a share between 0 and 1.")
    if options.nesterov and options.momentum <= 0:
        raise UserError(f"nesterov=true needs a momentum above 0, not {options.momentum}.")


def add_head(trunk: nn.Module, width: int, classes: int, seed: int) -> nn.Sequential:
    """The trunk and a linear classifier drawn from N(0, 0.01), bias 0, as in Barlow Twins, VICReg and TWIST."""
    head = nn.Linear(width, classes)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head.weight.normal_(0.0, 0.01, generator=generator)
        head.bias.zero_()
    return nn.Sequential(trunk, head)


def protocol(options: FineTune, labelled: str) -> str:
    """The human name of fine-tuning on the images called `labelled`."""
    steps = f" at {options.milestones}" if options.schedule == "step" else ""
    lrs = f"lr {options.lr_trunk:g} trunk / {options.lr_head:g} head"
    if options.sweep:
        lrs = f"lr chosen on other images of train among {', '.join(f'{lr:g}' for lr in options.sweep)}"
    return (
        f"fine-tuning on {labelled}: {options.epochs} epochs, batch {options.batch_size}, {lrs} per "
        f"{options.reference_batch}, {options.schedule}{steps}, batch norm in train mode"
    )


def evaluate(
    trunk: nn.Module,
    width: int,
    train: ImageSource,
    val: ImageSource,
    options: FineTune,
    device: torch.device,
    rest: ImageSource | None = None,
) -> Outcome:
    """Fine-tune trunk and a new head on `train`, then score val with the last epoch's weights.

    Batch norm is in train mode while fine-tuning, the field's practice, and uses its running statistics on val. Random
    resized crops and flips are the only augmentation. A batch larger than the training set becomes the whole set.
    Several processes share every batch and the scoring; where the trunk's norms are pretrain.models.batchnorm's,
    statistics and gradients are those of the whole batch, so that their number changes nothing but the rounding.

    Args: rest, the images of train that are not labelled, whose labels choose among the lrs of a sweep.

    Raises:
        UserError: unreadable images leave a class or a batch without any, a sweep has no other images, or a loss is not
            finite.
    """
    train, unreadable = _whole(train, options)

    def fitted(body: nn.Module, chosen: FineTune) -> tuple[nn.Sequential, dict[str, float]]:
        network = add_head(body, width, len(train.classes), options.seed)
        network = network.to(device, memory_format=torch.channels_last)
        return network, _fit(network, train, chosen, device)

    if not options.sweep:
        network, found = fitted(trunk, options)
    else:
        network, found = _sweep(trunk, fitted, rest, options, device)
    metrics, skipped = _scored(network, val, options, device, "scores of val")
    return Outcome(metrics, len(unreadable), skipped, found)


def _whole(train: ImageSource, options: FineTune) -> tuple[ImageSource, list[str]]:
    """`train` without its unreadable images, which are named, and why they are; every class still has some."""
    kept, unreadable = readable(train, options.workers)
    if distributed.rank() == 0:
        name_unreadable(unreadable)
    least = max(2, distributed.world_size())
    if len(kept) < least:
        raise UserError(f"fine-tuning needs at least {least} readable images: see the labelled part of {train.root}.")
    if unreadable:
        check_classes(kept)
    return kept, unreadable


def _scored(
    network: nn.Module, source: ImageSource, options: FineTune, device: torch.device, what: str
) -> tuple[dict[str, float], int]:
    """Accuracy on all of `source`, of which each rank scores its share, and how many of its images are unreadable."""
    resize = resize_for(options.image_size, options.resize)
    mine = source.select(distributed.share(len(source)))
    scores = extract(network, mine, options.image_size, resize, options.batch_size, options.workers, device, what)
    cuts = reported(len(source.classes))
    own = torch.stack([hits(scores.rows, scores.labels, k) for k in cuts], dim=1).tolist()
    hit: dict[str, list[bool]] = {}  # by name, so that an image that was dealt twice counts once
    for part in distributed.gathered(dict(zip(scores.names, own, strict=True))):
        hit |= part
    found = torch.tensor(list(hit.values()), dtype=torch.float64).mean(0) * 100
    return {f"top{k}": share for k, share in zip(cuts, found.tolist(), strict=True)}, len(source) - len(hit)


def _sweep(
    trunk: nn.Module,
    fitted: Callable[[nn.Module, FineTune], tuple[nn.Sequential, dict[str, float]]],
    rest: ImageSource | None,
    options: FineTune,
    device: torch.device,
) -> tuple[nn.Sequential, dict[str, Any]]:
    """The network of the lr that does best on other images of train, and what was found on the way."""
    if rest is None or not len(rest):
        raise UserError("a sweep chooses on images of train that are not labelled, and there are none: label fewer.")
    choosing, best, rivals = thinned(rest, options.sweep_images), None, {}
    for lr in options.sweep:
        try:
            network, found = fitted(copy.deepcopy(trunk), replace(options, lr_trunk=lr, lr_head=lr))
        except Diverged:  # on all ranks alike
            rivals[f"{lr:g}"] = None
            continue
        metrics, _ = _scored(network, choosing, options, device, f"choosing with lr {lr:g}")
        rivals[f"{lr:g}"] = metrics["top1"]
        if best is None or metrics["top1"] > best[0]:
            best = metrics["top1"], network, found
    if best is None:
        raise UserError(f"every lr of sweep={options.sweep} diverged: lower them, or use precision=fp32.")
    return best[1], best[2] | {"chosen_on": len(choosing), "held_out_top1": rivals}


def _fit(network: nn.Sequential, train: ImageSource, options: FineTune, device: torch.device) -> dict[str, float]:
    ranks = distributed.world_size()
    batch_size = min(options.batch_size, len(train) // ranks * ranks)
    scale = batch_size / options.reference_batch
    lrs = (options.lr_trunk * scale, options.lr_head * scale)
    if distributed.rank() == 0:
        _say_batch(options, batch_size, lrs)
    groups = [{"params": part.parameters(), "lr": lr} for part, lr in zip(network, lrs, strict=True)]
    rest = {"momentum": options.momentum, "nesterov": options.nesterov, "weight_decay": options.weight_decay}
    optimizer = torch.optim.SGD(groups, **rest)
    factor = schedule(options)
    batches = EpochBatches(len(train), batch_size, options.epochs, options.seed, ranks)
    augment = v2.Compose(
        [v2.RandomResizedCrop(options.image_size, (options.min_scale, 1.0)), v2.RandomHorizontalFlip()]
    )
    reader = loader(Pictures(train, augment, options.seed), RankBatches(batches), options.workers, device)
    labels, losses = torch.tensor(train.labels), []
    network = distributed.data_parallel(network.train(), device)
    images_told = batches.used * options.epochs // ranks
    for step, (images, indices, reasons) in enumerate(shown(reader, images_told, "fine-tuning")):
        if reasons:
            raise UserError(f"an image that could be read before cannot any more: {reasons[0]}; see its disk.")
        epoch = step // batches.per_epoch
        for group, lr in zip(optimizer.param_groups, lrs, strict=True):
            group["lr"] = lr * factor(epoch / options.epochs)
        losses.append(_step(network, optimizer, images, labels[indices], device, options.precision))
        if (step + 1) % batches.per_epoch == 0:
            loss, losses = _mean_loss(losses, epoch), []
    return {"batch_size_used": batch_size, "lr_trunk_used": lrs[0], "lr_head_used": lrs[1], "last_loss": loss}


def _say_batch(options: FineTune, batch_size: int, lrs: tuple[float, float]) -> None:
    clipped = f", the whole set, instead of {options.batch_size}" if batch_size < options.batch_size else ""
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
    device: torch.device,
    precision: str,
) -> torch.Tensor:
    """One SGD step on this rank's uint8 images (n, 3, S, S); their mean cross-entropy before it, on the device."""
    images = normalise(images.to(device, non_blocking=True)).contiguous(memory_format=torch.channels_last)
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        loss = functional.cross_entropy(network(images).float(), labels.to(device, non_blocking=True))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def _mean_loss(losses: list[torch.Tensor], epoch: int) -> float:
    """Over an epoch and all ranks, so that all of them see a divergence."""
    mean = distributed.all_mean(torch.stack(losses).mean()).item()
    if not math.isfinite(mean):
        raise Diverged(f"the loss is {mean} in epoch {epoch + 1}: lower lr_trunk and lr_head, or use precision=fp32.")
    return mean
