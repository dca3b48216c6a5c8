"""The fast linear probe: many settings are trained at once on cached features, and the worse half is dropped in rounds.

This is successive halving (Jamieson & Talwalkar, 2016). All settings start on train without a held-out slice. Each
round ends by dropping the half with the lower accuracy on that slice. The last setting finishes its `epochs` on all of
train. The length of the rounds is such that the dropped settings cost at most EXTRA of training one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError
from transfer.classifiers.linear import sgd_heads
from transfer.classifiers.linear.head_options import Head
from transfer.classifiers.linear.linear_head import Head as LinearHead
from transfer.classifiers.linear.linear_head import unstandardised
from transfer.classifiers.linear.logistic_regression import held_out
from transfer.classifiers.linear.sgd_heads import Heads, Setting
from transfer.classifiers.schedules import schedule
from transfer.features.on_device import DeviceRows, to_device
from transfer.features.rows import Features

PROTOCOL = "raced SGD: cached features, no augmentation, settings halved on a held-out slice of train"
EXTRA = 0.4  # cost of all dropped settings, as a share of the cost of training one


def rounds(rivals: int, steps: int) -> list[int]:
    """Number of steps in each round; a round halves the number of settings, rounded up, until one is left.

    A round's extra cost is (rivals - 1) · its steps. All rounds have about the same extra cost, and together at most
    EXTRA · `steps`. A round has at least one step.
    """
    sizes = []
    while rivals > 1:
        sizes.append(rivals)
        rivals = -(-rivals // 2)
    return [max(1, int(EXTRA * steps / len(sizes) / (size - 1))) for size in sizes]


def ranking(accuracies: list[tuple[Setting, float]], images: int) -> list[int]:
    """Indices of the settings from the best to the worst, by top-1 in percent on `images` held-out images.

    Among those within one standard error of the best, stronger weight decay comes first (the one-standard-error rule,
    Breiman et al., 1984). Early rounds show how fast a setting learns, but not yet how much it overfits.
    """
    best = max(accuracy for _, accuracy in accuracies)
    near = best - (best * (100 - best) / images) ** 0.5

    def key(index: int) -> tuple[float, ...]:
        setting, accuracy = accuracies[index]
        return (0.0, -setting.weight_decay, -accuracy) if accuracy >= near else (1.0, -accuracy, 0.0)

    return sorted(range(len(accuracies)), key=key)


class Standardised:
    """The rows of a set, standardised by the mean and std of the training set; a constant column becomes 0."""

    def __init__(self, rows: DeviceRows) -> None:
        total = torch.zeros(rows.width, dtype=torch.float64, device=rows.device)
        square = torch.zeros_like(total)
        for part in rows.blocks(sgd_heads.CHUNK):
            total += part.sum(0, dtype=torch.float64)
        mean = total / len(rows)
        for part in rows.blocks(sgd_heads.CHUNK):
            square += (part.double() - mean).square().sum(0)
        std = (square / len(rows)).sqrt()
        std = torch.where(std > 1e-6 * std.max(), std, 1.0)
        self.mean, self.scale = mean.float(), std.reciprocal().float()

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """(B, D) on the device."""
        return (rows - self.mean).mul_(self.scale)


def batches(pool: torch.Tensor, size: int, generator: torch.Generator, home: torch.device) -> Iterator[torch.Tensor]:
    """Batches of `pool` without end, a fresh permutation each epoch; this rank's share of each, perhaps empty.

    Args:
        pool: (n,) indices, on the host.
        size: of a batch of all ranks.
        generator: of the host, which draws the permutations.
        home: where batches are wanted; each permutation goes there at once.
    """
    while True:
        order = to_device(pool[torch.randperm(len(pool), generator=generator)], home)
        for batch in torch.split(order, size):
            yield batch[distributed.rank() :: distributed.world_size()]


def race_to_head(
    train: Features, classes: int, options: Head, share: float, seed: int, device: torch.device
) -> tuple[LinearHead, dict[str, object]]:
    """Race on train, and take the winner's last weights.

    Args:
        train: rows with labels.
        classes: their number.
        options: of the heads.
        share: of train that is held out to choose on.
        seed: of the slice, of the first weights and of the batches.
        device: where to train.

    Returns: the head of rows that are not standardised; and details: the setting that won, and the held-out top-1 of
        all settings at the end of the last round that each of them was in.

    Raises:
        UserError: even the winner diverged.
    """
    batch_size = min(options.batch_size, len(train.rows))
    chosen = sgd_heads.settings(options, batch_size)
    print(f"linear probe, {len(chosen)} settings: {sgd_heads.scaling_in_words(options, batch_size)}", flush=True)
    trained, rivals, change = race(train, classes, options, chosen, share, seed, device)
    if not trained.weight.isfinite().all():
        raise UserError(f"every setting of the linear probe diverged: lower head.lrs, now {options.lrs}.")
    head = unstandardised(trained.weight[0], trained.bias[0], change.mean, change.scale)
    return head, sgd_heads.chosen_setting(trained, batch_size) | {"held_out_top1": rivals}


def race(
    train: Features,
    classes: int,
    options: Head,
    chosen: list[Setting],
    share: float,
    seed: int,
    device: torch.device,
) -> tuple[Heads, dict[str, float], Standardised]:
    """Train the settings in rounds until one is left.

    Args:
        train, classes, options, share, seed, device: as of `race_to_head`.
        chosen: the settings that compete.

    Returns: the heads of the one setting that is left, each setting's last held-out top-1, and the standardisation.
    """
    rows, slice_ = DeviceRows(train.rows, device), held_out(train.labels, share, seed)
    change, labels = Standardised(rows), to_device(train.labels, rows.home)
    everything, generator = torch.arange(len(labels)), torch.Generator().manual_seed(seed)
    competing = len(chosen) > 1 and bool(slice_.any())
    trained = Heads(options, chosen if competing else chosen[:1], classes, rows.width, seed).to(device)
    batch_size = min(options.batch_size, len(labels))
    steps, factor = options.epochs * math.ceil(len(labels) / batch_size), schedule(options)
    ends = rounds(len(trained.settings), steps)
    feed = batches(everything[~slice_] if competing else everything, batch_size, generator, rows.home)
    rivals: dict[str, float] = {}
    step = 0
    for length in ends:
        average = _Average(trained)
        for number in range(length):
            at = next(feed)
            named = to_device(labels[at], device)
            trained.step(change(rows.pick(at)), named, factor(min(step / steps, 1.0)))
            step += 1
            if number >= length // 2:
                average.add(trained)
        accuracies = _held_out_top1(trained, average, (rows, labels), slice_, change)
        rivals |= {sgd_heads.setting_name(rival): accuracy for rival, accuracy in accuracies}
        trained.keep(sorted(ranking(accuracies, int(slice_.sum()))[: -(-len(accuracies) // 2)]))
    feed = batches(everything, batch_size, generator, rows.home)
    for number in range(step, steps):
        at = next(feed)
        trained.step(change(rows.pick(at)), to_device(labels[at], device), factor(number / steps))
    return trained, rivals, change


class _Average:
    """The mean of the heads over steps. It removes the noise that a high learning rate leaves in the weights."""

    def __init__(self, trained: Heads) -> None:
        self.count, self.weight, self.bias = 0, torch.zeros_like(trained.weight), torch.zeros_like(trained.bias)

    def add(self, trained: Heads) -> None:
        """Add the present weights of the heads to the mean."""
        self.count += 1
        self.weight, self.bias = self.weight + trained.weight, self.bias + trained.bias


def _held_out_top1(
    trained: Heads,
    average: _Average,
    train: tuple[DeviceRows, torch.Tensor],
    slice_: torch.Tensor,
    change: Standardised,
) -> list[tuple[Setting, float]]:
    weight, bias, (rows, labels) = average.weight / average.count, average.bias / average.count, train
    device = trained.weight.device
    parts = torch.split(to_device(slice_.nonzero()[:, 0], rows.home), sgd_heads.CHUNK)
    scored = (
        (trained.scores(change(rows.pick(part)), weight, bias), to_device(labels[part], device)) for part in parts
    )
    return list(zip(trained.settings, sgd_heads.top1_of_each(scored), strict=True))
