"""One trunk on one labelled data set: checks before any long work, the chosen protocols, and their results."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import nn

from pretrain import model
from pretrain.config import load
from pretrain.data import ImageSource, open_source
from pretrain.errors import UserError
from pretrain.files import sha256_of
from transfer import finetune, knn, linear, subsets
from transfer.convert import TrunkFile, build_trunk, read_trunk
from transfer.features import Features, extract, resize_for
from transfer.results import Result


@dataclass
class Frozen:
    """Options of `knn` and `linear`.

    resize: short side before the centre crop, 0 for 256/224 of image_size. held_out: share of train on which the linear
    probe chooses its weight decay. workers: loader processes. threads: of the network on a CPU, 0 leaves torch's
    choice. device: auto|cpu|cuda.
    """

    image_size: int = 224
    resize: int = 0
    batch_size: int = 256
    held_out: float = 0.2
    seed: int = 0
    workers: int = 4
    threads: int = 0
    device: str = "auto"


OPTIONS = {"knn": Frozen, "linear": Frozen, "semi": finetune.FineTune}


@dataclass(frozen=True)
class Labelled:
    """ROOT/train and ROOT/val as class folders; val's labels are indices into train's classes."""

    name: str
    train: ImageSource
    val: ImageSource


@dataclass(frozen=True)
class Subject:
    """What is evaluated: a checkpoint, the trunk it holds, and the data set."""

    checkpoint: Path
    trunk_file: TrunkFile
    data: Labelled

    def trunk(self) -> nn.Module:
        """A fresh copy of the trunk, in eval mode."""
        return build_trunk(self.trunk_file)

    @property
    def width(self) -> int:
        """Length of a feature row."""
        with torch.device("meta"):
            return model.build_trunk(self.trunk_file.arch)[1]


def open_labelled(root: str | Path) -> Labelled:
    """Read ROOT/train/CLASS/image and ROOT/val/CLASS/image.

    Raises:
        UserError: a folder is missing, empty or flat, there is a single class, or val has a class that train has not.
    """
    root = Path(root)
    for part in ("train", "val"):
        if not (root / part).is_dir():
            raise UserError(f"{root} has no folder {part}: give the folder that holds train/CLASS/ and val/CLASS/.")
    return Labelled(root.resolve().name, *open_pair(root / "train", root / "val"))


def open_pair(train_root: str | Path, val_root: str | Path) -> tuple[ImageSource, ImageSource]:
    """Two sets of class folders, (train, val), with one numbering of the classes, that of train.

    Raises:
        UserError: a folder is missing, empty or flat, there is a single class, or val has a class that train has not.
    """
    train, val = open_source(train_root), open_source(val_root)
    for source in (train, val):
        if source.labels is None:
            raise UserError(
                f"{source.root} is a flat folder without labels: evaluation needs one folder a class in it."
            )
    assert val.labels is not None
    used = {val.classes[label] for label in val.labels}
    unknown = sorted(used - set(train.classes))
    if unknown:
        raise UserError(
            f"{val.root} has {len(unknown)} class folders that {train.root} has not, such as '{unknown[0]}': both must "
            "hold the same classes."
        )
    if len(train.classes) < 2:
        raise UserError(f"{train.root} holds the single class '{train.classes[0]}': classification needs at least two.")
    index = {name: position for position, name in enumerate(train.classes)}
    labels = tuple(index[val.classes[label]] for label in val.labels)
    return train, replace(val, labels=labels, classes=train.classes)


def ready(options: Frozen | finetune.FineTune) -> torch.device:
    """Check the options that all tasks share and set the threads; the device to run on.

    Raises:
        UserError: an impossible value, or a GPU that is not there.
    """
    at_least = {"image_size": 8, "batch_size": 1, "workers": 0, "threads": 0, "resize": 0}
    for name, least in at_least.items():
        if getattr(options, name) < least:
            raise UserError(f"{name}={getattr(options, name)} is too small: it must be at least {least}.")
    if 0 < options.resize < options.image_size:
        raise UserError(f"resize={options.resize} is below image_size={options.image_size}: the crop would leave it.")
    if options.device not in ("auto", "cpu", "cuda"):
        raise UserError(f"device={options.device} is not known: choose one of auto, cpu, cuda.")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda, but torch sees no GPU: use device=cpu or install a CUDA build of torch.")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("evaluation runs in a single process: start it as one task.")
    if options.threads:
        torch.set_num_threads(options.threads)
    on_gpu = options.device == "cuda" or (options.device == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if on_gpu else "cpu")


def evaluate(
    tasks: Sequence[str], checkpoint: Path, root: Path, config: Path | None, overrides: Sequence[str]
) -> Iterator[Result]:
    """One result for each of `tasks` (knn, linear, semi), in that order; knn and linear share their features.

    Raises:
        UserError: anything wrong with the options, the checkpoint or the data, before the first long computation.
    """
    options = {task: load(OPTIONS[task], config, overrides) for task in tasks}
    device = [ready(chosen) for chosen in options.values()][0]
    data = open_labelled(root)
    labelled = _labelled(data, options["semi"]) if "semi" in options else None
    frozen = options.get("knn") or options.get("linear")
    if frozen and not 0 < frozen.held_out < 1:
        raise UserError(f"held_out={frozen.held_out} must be between 0 and 1.")
    subject = Subject(checkpoint, read_trunk(checkpoint), data)
    features = _features(subject, frozen, device) if frozen else None
    for task in tasks:
        if task == "semi":
            yield _semi(subject, labelled, options[task], device)
        else:
            yield _frozen(task, subject, features, options[task], device)


def _features(subject: Subject, options: Frozen, device: torch.device) -> tuple[Features, Features]:
    resize = resize_for(options.image_size, options.resize)
    given = (options.image_size, resize, options.batch_size, options.workers, device)
    trunk = subject.trunk()
    return tuple(
        extract(trunk, source, *given, f"features of {source.root.name}")
        for source in (subject.data.train, subject.data.val)
    )


def _frozen(
    task: str, subject: Subject, features: tuple[Features, Features], options: Frozen, device: torch.device
) -> Result:
    train, val = features
    begun, classes = time.perf_counter(), len(subject.data.train.classes)
    if task == "knn":
        metrics, found, protocol = knn.evaluate(train, val, classes, device), {}, knn.protocol(len(train.rows))
    else:
        metrics, found = linear.evaluate(train, val, classes, device, options.held_out, options.seed)
        protocol = linear.PROTOCOL
    seconds = time.perf_counter() - begun + train.seconds + val.seconds
    counts = {"train": len(train.rows), "val": len(val.rows), "skipped": len(train.skipped) + len(val.skipped)}
    return _result(task, protocol, subject, options, metrics, counts, found, seconds)


def _labelled(data: Labelled, options: finetune.FineTune) -> subsets.Subset:
    """The labelled images of `semi`, told in one line."""
    finetune.check(options)
    if options.image_list:
        subset = subsets.from_list(data.train, options.image_list)
        listed, known = subset.counts["listed"], subset.counts["absent_of_known_classes"]
        print(
            f"{options.image_list}: {len(subset.source)} of {listed} listed images are in {data.name}; {known} of the "
            "absent ones are of its classes",
            flush=True,
        )
    else:
        subset = subsets.from_fraction(data.train, options.fraction, options.seed)
        print(f"fraction {options.fraction:g}: {len(subset.source)} labelled images", flush=True)
    if len(subset.source) < 2:
        raise UserError(f"{len(subset.source)} labelled image of {data.name} is too few to fine-tune on: label more.")
    return subset


def _semi(subject: Subject, subset: subsets.Subset, options: finetune.FineTune, device: torch.device) -> Result:
    begun = time.perf_counter()
    outcome = finetune.evaluate(subject.trunk(), subject.width, subset.source, subject.data.val, options, device)
    which = Path(options.image_list).name if options.image_list else f"a balanced fraction of {options.fraction:g}"
    steps = f" at {options.milestones}" if options.schedule == "step" else ""
    protocol = (
        f"fine-tuning on {which}: {options.epochs} epochs, batch {options.batch_size}, lr {options.lr_trunk:g} trunk / "
        f"{options.lr_head:g} head per {options.reference_batch}, {options.schedule}{steps}, batch norm in train mode"
    )
    counts = {
        "train": len(subset.source) - outcome.skipped_train,
        "val": len(subject.data.val) - outcome.skipped_val,
        "skipped": outcome.skipped_train + outcome.skipped_val,
        **subset.counts,
    }
    seconds = time.perf_counter() - begun
    return _result("semi", protocol, subject, options, outcome.metrics, counts, outcome.found, seconds)


def _result(
    task: str,
    protocol: str,
    subject: Subject,
    options: Frozen | finetune.FineTune,
    metrics: dict[str, float],
    counts: dict[str, int],
    found: dict[str, object],
    seconds: float,
) -> Result:
    meta = subject.trunk_file.meta
    resize = resize_for(options.image_size, options.resize)
    return Result(
        task=task,
        protocol=f"{protocol}; val under Resize({resize}) + CenterCrop({options.image_size})",
        dataset=subject.data.name,
        metrics=metrics,
        counts={**counts, "classes": len(subject.data.train.classes)},
        seed=options.seed,
        init="random" if meta.get("step") == 0 else "pretrained",
        arch=subject.trunk_file.arch,
        checkpoint=str(subject.checkpoint.resolve()),
        checkpoint_sha256=sha256_of(subject.checkpoint),
        pretraining=meta,
        seconds=round(seconds, 3),
        settings={**asdict(options), "found": found},
    )


def line(result: Result) -> str:
    """A result in one line."""
    metrics = ", ".join(f"{name} {value:.2f} %" for name, value in result.metrics.items())
    counts = ", ".join(f"{name} {count}" for name, count in result.counts.items())
    return (
        f"{result.task} on {result.dataset}, {result.init} {result.arch}: {metrics} | {result.protocol} | {counts}, "
        f"seed {result.seed}, {result.seconds:.0f} s"
    )
