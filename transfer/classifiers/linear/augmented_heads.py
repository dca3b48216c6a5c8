"""The linear protocols of the papers: heads on a frozen trunk that sees augmented images anew in every epoch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from pretrain.augment.normalisation import normalise
from pretrain.data.sources import ImageSource
from pretrain.models.pixels import pixels_of
from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError
from transfer.classifiers.accuracy import top1_top5
from transfer.classifiers.linear import linear_head, sgd_heads
from transfer.classifiers.linear.head_options import Head
from transfer.classifiers.linear.logistic_regression import held_out
from transfer.classifiers.linear.sgd_heads import Heads
from transfer.classifiers.schedules import schedule
from transfer.datasets.labelled import Labelled
from transfer.datasets.samplers import EpochBatches
from transfer.features.augmented import training_batches
from transfer.features.extract import extract_with, placed
from transfer.features.on_device import DeviceRows, autocast, chosen_precision, to_device
from transfer.features.pictures import name_unreadable, shown
from transfer.options import Common
from transfer.per_image import PerImage, of_scores


@dataclass(frozen=True)
class HeadScore:
    """metrics in percent. skipped_val: number of unreadable images of val. details: the chosen setting, and losses.

    head: what was trained. per_image: what came of each image of val.
    """

    metrics: dict[str, float]
    skipped_val: int
    details: dict[str, object]
    head: linear_head.Head
    per_image: PerImage


def protocol(options: Head) -> str:
    """The human name of this evaluation."""
    steps = f" at {options.milestones}" if options.schedule == "step" else ""
    several = len(options.lrs) * len(options.weight_decays) > 1
    lrs, decays = ("/".join(f"{value:g}" for value in values) for values in (options.lrs, options.weight_decays))
    return (
        f"linear on a frozen trunk, augmented images: {options.epochs} epochs, batch {options.batch_size}, "
        f"{options.optimiser}{' with Nesterov momentum' if options.nesterov else ''} lr {lrs} per "
        f"{options.reference_batch}, wd {decays}, {options.schedule}{steps}"
        + (", chosen on a held-out slice of train" if several else "")
    )


def train_and_score(
    trunk: nn.Module,
    width: int,
    data: Labelled,
    options: Head,
    share: float,
    common: Common,
    device: torch.device,
) -> HeadScore:
    """Train on random resized crops and flips of train, the trunk in eval mode, and score val under the test transform.

    Where there are several settings, all train together and the one to report is chosen on a held-out slice of train,
    which none of them trains on; a single one trains on all of train. Val chooses nothing.

    Args:
        trunk: from images to rows (n, width).
        width: channels of a row.
        data: labelled images.
        options: of the heads.
        share: of train that is held out to choose on.
        common: how images are read, and the seed.
        device: where to train.

    Raises:
        UserError: nothing can be decoded, or the chosen setting diverged.
    """
    train = data.train
    assert train.labels is not None
    batch_size = min(options.batch_size, len(train))
    chosen = sgd_heads.settings(options, batch_size)
    scaling = sgd_heads.scaling_in_words(options, batch_size)
    print(f"linear, augmented images, {len(chosen)} settings: {scaling}", flush=True)
    slice_ = held_out(torch.tensor(train.labels), share, common.seed) & (len(chosen) > 1)
    trained = Heads(options, chosen, len(train.classes), width, common.seed).to(device)
    kept = train.select((~slice_).nonzero()[:, 0].tolist())
    losses = _train(trunk, trained, kept, batch_size, common, device)
    rivals = _choose(trunk, trained, train.select(slice_.nonzero()[:, 0].tolist()), common, device)
    if not trained.weight.isfinite().all():
        raise UserError(f"the linear head diverged: lower head.lrs, now {options.lrs}.")
    metrics, skipped, outcomes = _scored(trunk, trained, data.val, common, device)
    last = losses[chosen.index(trained.settings[0])].item()
    details: dict[str, object] = {"trained_on": len(kept), "last_loss": last, "held_out_top1": rivals}
    details["frozen_precision_used"] = chosen_precision(common.frozen_precision, device)
    head = linear_head.Head(*(values[0].double().cpu() for values in (trained.weight, trained.bias)))
    return HeadScore(metrics, skipped, sgd_heads.chosen_setting(trained, batch_size) | details, head, outcomes)


def _choose(
    trunk: nn.Module,
    trained: Heads,
    choosing: ImageSource,
    common: Common,
    device: torch.device,
) -> dict[str, float]:
    """Keep the setting with the best top-1 on held-out images, where there are any; what every setting has."""
    if not len(choosing):
        trained.keep([0])
        return {}
    features = extract_with(common, trunk, choosing, device, "held-out features")
    labels = torch.split(to_device(features.labels, device), sgd_heads.CHUNK)
    parts = zip(DeviceRows(features.rows, device).blocks(sgd_heads.CHUNK), labels, strict=True)
    top1_of = sgd_heads.top1_of_each((trained.scores(rows), labels) for rows, labels in parts)
    rivals = {sgd_heads.setting_name(rival): top1 for rival, top1 in zip(trained.settings, top1_of, strict=True)}
    trained.keep([top1_of.index(max(top1_of))])
    return rivals


def _scored(
    trunk: nn.Module, trained: Heads, val: ImageSource, common: Common, device: torch.device
) -> tuple[dict[str, float], int, PerImage]:
    """Accuracy of the setting that was kept on all of val, the number of unreadable images, and what came of each."""
    features = extract_with(common, trunk, val, device, "features of val")
    parts = DeviceRows(features.rows, device).blocks(sgd_heads.CHUNK)
    scores = torch.cat([trained.scores(part)[:, 0] for part in parts]).cpu()
    kept = of_scores(features.names, scores, features.labels)
    return top1_top5(scores, features.labels), len(features.skipped), kept


def _train(
    trunk: nn.Module,
    trained: Heads,
    train: ImageSource,
    batch_size: int,
    common: Common,
    device: torch.device,
) -> torch.Tensor:
    """All epochs; the mean cross-entropy of this rank's rows over the last one, for each setting."""
    options = trained.options
    batches = EpochBatches(len(train), batch_size, options.epochs, common.seed)
    reader = training_batches(train, batches, options.min_scale, common, device)
    labels, factor, losses = to_device(torch.tensor(train.labels), device), schedule(options), []
    precision = chosen_precision(common.frozen_precision, device)
    unreadable: set[str] = set()
    trunk = placed(trunk, device).eval()
    samples = shown(reader, len(train) * options.epochs // distributed.world_size(), "linear head")
    for step, (images, indices, reasons) in enumerate(samples):
        epoch = step // batches.per_epoch
        name_unreadable(set(reasons) - unreadable)
        unreadable.update(reasons)
        if len(indices):
            with torch.no_grad(), autocast(precision, device):
                images = normalise(images.to(device, non_blocking=True), pixels_of(trunk))
                rows = trunk(images.contiguous(memory_format=torch.channels_last)).float()
        else:
            rows = torch.empty(0, trained.weight.shape[2], device=device)
        named = labels[indices.to(device, non_blocking=True)]
        loss = trained.step(rows, named, factor(epoch / options.epochs))
        if epoch == options.epochs - 1 and len(indices):
            losses.append(loss)
    if not losses:
        raise UserError(f"no image of the last epoch could be read: see the images of {train.where}.")
    return torch.stack(losses).mean(0)
