"""The linear protocols of the papers: heads on a frozen trunk that sees augmented images anew in every epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torchvision.transforms import v2

from pretrain.augment.multicrop import normalise
from pretrain.data.sources import ImageSource
from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError
from transfer.datasets.labelled import Labelled
from transfer.datasets.samplers import EpochBatches, RankBatches
from transfer.evaluators import sgd_heads
from transfer.evaluators.accuracy import top1_top5
from transfer.evaluators.linear_exact import held_out
from transfer.evaluators.schedules import schedule
from transfer.evaluators.sgd_heads import Head, Heads
from transfer.features.extract import Features, Pictures, extract, loader, name_unreadable, shown


@dataclass(frozen=True)
class Outcome:
    """metrics in percent. skipped_val: unreadable images of val. found: what was settled on the way."""

    metrics: dict[str, float]
    skipped_val: int
    found: dict[str, object]


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


def evaluate(
    trunk: nn.Module,
    width: int,
    data: Labelled,
    options: Head,
    test: tuple[int, int, int, int],
    share: float,
    seed: int,
    device: torch.device,
) -> Outcome:
    """Train on random resized crops and flips of train, the trunk in eval mode, and score val under the test transform.

    Where there are several settings, all train together and the one to report is chosen on a held-out slice of train,
    which none of them trains on; a single one trains on all of train. Val chooses nothing.

    Args: test, (image_size, resize, images at once, workers). share: of train that is held out.

    Raises:
        UserError: nothing can be decoded, or the chosen setting diverged.
    """
    train = data.train
    assert train.labels is not None
    batch_size = min(options.batch_size, len(train))
    chosen = sgd_heads.settings(options, batch_size)
    print(f"linear, augmented images, {len(chosen)} settings: {sgd_heads.said(options, batch_size)}", flush=True)
    slice_ = held_out(torch.tensor(train.labels), share, seed) & (len(chosen) > 1)
    trained = Heads(options, chosen, len(train.classes), width, seed).to(device)
    kept = train.select((~slice_).nonzero()[:, 0].tolist())
    losses = _train(trunk, trained, kept, test, batch_size, seed, device)
    rivals = _choose(trunk, trained, train.select(slice_.nonzero()[:, 0].tolist()), test, device)
    if not trained.weight.isfinite().all():
        raise UserError(f"the linear head diverged: lower head.lrs, now {options.lrs}.")
    features = extract(trunk, data.val, *test, device, "features of val")
    loss = losses[chosen.index(trained.settings[0])].item()
    told = sgd_heads.told(trained, batch_size) | {"trained_on": len(kept), "last_loss": loss, "held_out_top1": rivals}
    metrics = top1_top5(_scores(trained, features, device)[:, 0], features.labels)
    return Outcome(metrics, len(features.skipped), told)


def _choose(
    trunk: nn.Module,
    trained: Heads,
    choosing: ImageSource,
    test: tuple[int, int, int, int],
    device: torch.device,
) -> dict[str, float]:
    """Keep the setting with the best top-1 on held-out images, where there are any; what every setting has."""
    if not len(choosing):
        trained.keep([0])
        return {}
    features = extract(trunk, choosing, *test, device, "held-out features")
    parts = zip(features.rows.split(sgd_heads.CHUNK), features.labels.split(sgd_heads.CHUNK), strict=True)
    found = sgd_heads.top1_of_each((trained.scores(rows.to(device)).cpu(), labels) for rows, labels in parts)
    rivals = {sgd_heads.name(rival): top1 for rival, top1 in zip(trained.settings, found, strict=True)}
    trained.keep([found.index(max(found))])
    return rivals


def _train(
    trunk: nn.Module,
    trained: Heads,
    train: ImageSource,
    test: Sequence[int],
    batch_size: int,
    seed: int,
    device: torch.device,
) -> torch.Tensor:
    """All epochs; the mean cross-entropy of this rank's rows over the last one, for each setting."""
    options, (image_size, _, _, workers) = trained.options, test
    crops = v2.Compose([v2.RandomResizedCrop(image_size, (options.min_scale, 1.0)), v2.RandomHorizontalFlip()])
    batches = EpochBatches(len(train), batch_size, options.epochs, seed)
    reader = loader(Pictures(train, crops, seed), RankBatches(batches), workers, device)
    labels, factor, losses, unreadable = torch.tensor(train.labels), schedule(options), [], set()
    trunk = trunk.to(device, memory_format=torch.channels_last).eval()
    told = shown(reader, len(train) * options.epochs // distributed.world_size(), "linear head")
    for step, (images, indices, reasons) in enumerate(told):
        epoch = step // batches.per_epoch
        name_unreadable(set(reasons) - unreadable)
        unreadable.update(reasons)
        if len(indices):
            with torch.no_grad():
                images = normalise(images.to(device, non_blocking=True))
                rows = trunk(images.contiguous(memory_format=torch.channels_last)).float()
        else:
            rows = torch.empty(0, trained.weight.shape[2], device=device)
        loss = trained.step(rows, labels[indices].to(device), factor(epoch / options.epochs))
        if epoch == options.epochs - 1 and len(indices):
            losses.append(loss)
    if not losses:
        raise UserError(f"no image of the last epoch could be read: see the images of {train.root}.")
    return torch.stack(losses).mean(0)


def _scores(trained: Heads, features: Features, device: torch.device) -> torch.Tensor:
    """(n, S, classes) on the CPU."""
    parts = features.rows.split(sgd_heads.CHUNK)
    return torch.cat([trained.scores(part.to(device)).cpu() for part in parts])
