"""Few-label evaluation: the whole network fine-tuned on a few labelled images, and its accuracy on val afterwards."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torchvision.transforms import v2

from pretrain.data import ImageSource
from pretrain.errors import UserError
from pretrain.views import normalise
from transfer.accuracy import top, top1_top5
from transfer.features import Features, Pictures, extract, loader, name_unreadable, resize_for, shown
from transfer.labelled import thinned
from transfer.schedules import SCHEDULES, schedule


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


@dataclass(frozen=True)
class Outcome:
    """metrics in percent. skipped: unreadable training and val images. found: what was settled on the way."""

    metrics: dict[str, float]
    skipped_train: int
    skipped_val: int
    found: dict[str, Any]


class EpochBatches:
    """Batches of (epoch, index) over `epochs` fresh permutations drawn from `seed`, for a loader that lives throughout.

    The last batch of an epoch may be smaller; a single image left over is passed over in that epoch, because batch norm
    cannot normalise one value.
    """

    def __init__(self, images: int, batch_size: int, epochs: int, seed: int) -> None:
        self.images, self.batch_size, self.epochs, self.seed = images, batch_size, epochs, seed
        self.per_epoch = images // batch_size + (images % batch_size > 1)

    def __len__(self) -> int:
        return self.per_epoch * self.epochs

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        generator = torch.Generator().manual_seed(self.seed)
        for epoch in range(self.epochs):
            order = torch.randperm(self.images, generator=generator).tolist()
            for position in range(self.per_epoch):
                batch = order[position * self.batch_size : (position + 1) * self.batch_size]
                yield [(epoch, index) for index in batch]


def check(options: FineTune) -> None:
    """Refuse values that cannot work, before any image is read.

    Raises:
        UserError: naming the option, its value and what it may be.
    """
    choices = {"schedule": (options.schedule, SCHEDULES), "precision": (options.precision, ("fp32", "bf16"))}
    for name, (value, known) in choices.items():
        if value not in known:
            raise UserError(f"{name}={value} is not known: choose one of {', '.join(known)}.")
    positive = ("reference_batch", "lr_trunk", "lr_head", "epochs", "gamma", "min_scale")
    for name in positive:
        if not getattr(options, name) > 0:
            raise UserError(f"{name}={getattr(options, name)} must be above 0.")
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

    Args: rest, the images of train that are not labelled, whose labels choose among the lrs of a sweep.

    Raises:
        UserError: fewer than two readable training images, a sweep without other images, or a loss that is not finite.
    """
    classes = len(train.classes)

    def network_of(body: nn.Module) -> nn.Sequential:
        return add_head(body, width, classes, options.seed).to(device, memory_format=torch.channels_last)

    def scored(network: nn.Module, source: ImageSource, what: str) -> Features:
        resize = resize_for(options.image_size, options.resize)
        return extract(network, source, options.image_size, resize, options.batch_size, options.workers, device, what)

    if not options.sweep:
        network = network_of(trunk)
        found, unreadable = _fit(network, train, options, device)
    else:
        network, found, unreadable = _sweep(trunk, network_of, scored, train, rest, options, device)
    scores = scored(network, val, "scores of val")
    return Outcome(top1_top5(scores.rows, scores.labels), len(unreadable), len(scores.skipped), found)


def _sweep(
    trunk: nn.Module,
    network_of: Callable[[nn.Module], nn.Sequential],
    scored: Callable[[nn.Module, ImageSource, str], Features],
    train: ImageSource,
    rest: ImageSource | None,
    options: FineTune,
    device: torch.device,
) -> tuple[nn.Sequential, dict[str, Any], set[str]]:
    """The network of the lr that does best on other images of train, and what was found on the way."""
    if rest is None or not len(rest):
        raise UserError("a sweep chooses on images of train that are not labelled, and there are none: label fewer.")
    choosing, best, rivals = thinned(rest, options.sweep_images), None, {}
    for lr in options.sweep:
        network = network_of(copy.deepcopy(trunk))
        found, unreadable = _fit(network, train, replace(options, lr_trunk=lr, lr_head=lr), device)
        scores = scored(network, choosing, f"choosing with lr {lr:g}")
        rivals[f"{lr:g}"] = top(scores.rows, scores.labels, 1)
        if best is None or rivals[f"{lr:g}"] > best[0]:
            best = rivals[f"{lr:g}"], network, found, unreadable
    return best[1], best[2] | {"chosen_on": len(choosing), "held_out_top1": rivals}, best[3]


def _fit(
    network: nn.Sequential, train: ImageSource, options: FineTune, device: torch.device
) -> tuple[dict[str, float], set[str]]:
    batch_size = min(options.batch_size, len(train))
    scale = batch_size / options.reference_batch
    lrs = (options.lr_trunk * scale, options.lr_head * scale)
    _say_batch(options, batch_size, lrs)
    groups = [{"params": part.parameters(), "lr": lr} for part, lr in zip(network, lrs, strict=True)]
    rest = {"momentum": options.momentum, "nesterov": options.nesterov, "weight_decay": options.weight_decay}
    optimizer = torch.optim.SGD(groups, **rest)
    factor = schedule(options)
    batches = EpochBatches(len(train), batch_size, options.epochs, options.seed)
    augment = v2.Compose(
        [v2.RandomResizedCrop(options.image_size, (options.min_scale, 1.0)), v2.RandomHorizontalFlip()]
    )
    reader = loader(Pictures(train, augment, options.seed), batches, options.workers)
    labels, losses, unreadable = torch.tensor(train.labels), [], set()
    network.train()
    for step, (images, indices, reasons) in enumerate(shown(reader, len(train) * options.epochs, "fine-tuning")):
        epoch = step // batches.per_epoch
        name_unreadable(set(reasons) - unreadable)
        unreadable.update(reasons)
        if len(indices) > 1:
            for group, lr in zip(optimizer.param_groups, lrs, strict=True):
                group["lr"] = lr * factor(epoch / options.epochs)
            losses.append(_step(network, optimizer, images, labels[indices], device, options.precision))
        if (step + 1) % batches.per_epoch == 0:
            loss, losses = _mean_loss(losses, train, epoch), []
    return {
        "batch_size_used": batch_size,
        "lr_trunk_used": lrs[0],
        "lr_head_used": lrs[1],
        "last_loss": loss,
    }, unreadable


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
    """One SGD step on uint8 images (n, 3, S, S); the mean cross-entropy before it, on the device."""
    images = normalise(images.to(device, non_blocking=True)).contiguous(memory_format=torch.channels_last)
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        loss = functional.cross_entropy(network(images).float(), labels.to(device, non_blocking=True))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()


def _mean_loss(losses: list[torch.Tensor], train: ImageSource, epoch: int) -> float:
    if not losses:
        raise UserError(
            f"fine-tuning needs at least 2 readable images in a batch: see the labelled part of {train.root}."
        )
    mean = torch.stack(losses).mean().item()
    if not math.isfinite(mean):
        raise UserError(f"the loss is {mean} in epoch {epoch + 1}: lower lr_trunk and lr_head, or use precision=fp32.")
    return mean
