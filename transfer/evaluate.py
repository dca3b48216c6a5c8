"""One trunk on one labelled data set: checks before any long work, the chosen protocols, and their results."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import nn

from pretrain.config import load
from pretrain.data.sources import ImageSource
from pretrain.models import siamese
from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import sha256_of, write_atomically
from transfer.analysis import READINGS, tsne
from transfer.analysis.base import Material
from transfer.convert.read_trunk import read_trunk
from transfer.convert.trunk import TrunkFile, build_trunk
from transfer.datasets import subsets
from transfer.datasets.labelled import Labelled, open_labelled
from transfer.evaluators import finetune, knn, linear_augmented, linear_exact, linear_fast, sgd_heads
from transfer.features import cache
from transfer.features.extract import Features, Transform, check_finite, extract, resize_for
from transfer.options import OPTIONS, Frozen, ready
from transfer.results import Result

WAIT = 24 * 60  # minutes that ranks wait for each other's features


@dataclass(frozen=True)
class Subject:
    """What is evaluated: a checkpoint, the trunk it holds, and the data set."""

    checkpoint: Path
    trunk_file: TrunkFile
    sha256: str
    data: Labelled

    def trunk(self) -> nn.Module:
        """A fresh copy of the trunk, in eval mode."""
        return build_trunk(self.trunk_file)

    @property
    def width(self) -> int:
        """Length of a feature row."""
        with torch.device("meta"):
            return siamese.build_trunk(self.trunk_file.arch)[1]


def evaluate(
    tasks: Sequence[str],
    checkpoint: Path,
    root: Path,
    config: Path | None,
    overrides: Sequence[str],
    pictures: Path | None = None,
) -> Iterator[Result]:
    """One result for each of `tasks` (knn, linear, readings, semi), in that order; all but semi share their features.

    Args: pictures, the result file of `readings`, beside which its pictures are written; without it they are not.

    Raises:
        UserError: anything wrong with the options, the checkpoint or the data, before the first long computation.
    """
    options = {task: load(OPTIONS[task], config, overrides) for task in tasks}
    device = [ready(chosen) for chosen in options.values()][0]
    data = open_labelled(root)
    labelled = _labelled(data, options["semi"]) if "semi" in options else None
    _check_together(options, data, labelled)
    if "knn" in options:
        knn.at_most(options["knn"].k, len(data.train))
    subject = Subject(checkpoint, read_trunk(checkpoint), sha256_of(checkpoint), data)
    distributed.start(device, timeout_minutes=WAIT)
    features: tuple[Features, Features] | None = None
    for task in tasks:
        if task == "semi":
            yield _semi(subject, labelled, options[task], device)
        elif task == "linear" and options[task].probe == "augmented":
            yield _augmented(subject, options[task], device)
        else:
            features = features or _features(subject, options[task], device)
            yield _frozen(task, subject, features, options[task], device, pictures)
    distributed.stop()


def _check_together(
    options: dict[str, Frozen | finetune.FineTune], data: Labelled, labelled: subsets.Subset | None
) -> None:
    """What an option means only beside the task or the data.

    Raises:
        UserError: naming the option and its remedy.
    """
    if "linear" in options and options["linear"].probe == "exact" and options["linear"].head != sgd_heads.Head():
        raise UserError("head.* are options of probe=fast and probe=augmented: add one of them, or leave head.* out.")
    if "readings" in options and "tsne" in (options["readings"].readings or READINGS):
        tsne.check(min(options["readings"].images, len(data.val)))
    if labelled is not None and options["semi"].sweep and len(labelled.source) == len(data.train):
        raise UserError("a sweep chooses on images of train that are not labelled, and there are none: label fewer.")


def _features(subject: Subject, options: Frozen, device: torch.device) -> tuple[Features, Features]:
    """Of train and val; kept on disk where a cache is given.

    Raises:
        UserError: features that are not finite, or a cache that cannot be written or is damaged.
    """
    size, resize = options.image_size, resize_for(options.image_size, options.resize)
    found = []
    for source in (subject.data.train, subject.data.val):
        if options.cache:
            wanted = cache.Wanted(subject.sha256, source, subject.width, size, resize)
            given = (Path(options.cache), wanted, subject.trunk, options.batch_size, options.workers, device)
            found.append(cache.features(*given))
        else:
            given = (size, resize, options.batch_size, options.workers, device, f"features of {source.root.name}")
            features = extract(subject.trunk(), source, *given)
            check_finite(features.rows, features.names, str(source.root))
            found.append(features)
    return tuple(found)


def _frozen(
    task: str,
    subject: Subject,
    features: tuple[Features, Features],
    options: Frozen,
    device: torch.device,
    pictures: Path | None,
) -> Result:
    train, val = features
    begun, classes = time.perf_counter(), len(subject.data.train.classes)
    if task == "knn":
        metrics, found = knn.evaluate(train, val, classes, device, options.k), {}
        protocol = knn.protocol(len(train.rows))
    elif task == "readings":
        return _readings(subject, features, options, device, pictures)
    elif options.probe == "fast":
        given = (options.head, options.held_out, options.seed, device)
        metrics, found = linear_fast.evaluate(train, val, classes, *given)
        protocol = linear_fast.PROTOCOL
    else:
        metrics, found = linear_exact.evaluate(train, val, classes, device, options.held_out, options.seed)
        protocol = linear_exact.PROTOCOL
    seconds = time.perf_counter() - begun + train.seconds + val.seconds
    counts = {"train": len(train.rows), "val": len(val.rows), "skipped": len(train.skipped) + len(val.skipped)}
    return _result(task, protocol, subject, options, metrics, counts, found, seconds)


def _readings(
    subject: Subject,
    features: tuple[Features, Features],
    options: Frozen,
    device: torch.device,
    pictures: Path | None,
) -> Result:
    """All numbers as metrics; pictures as PNGs beside the result file."""
    begun = time.perf_counter()
    given = (options.image_size, resize_for(options.image_size, options.resize), options.batch_size, options.workers)

    def further(source: ImageSource, change: Transform) -> Features:
        return extract(subject.trunk(), source, *given, device, "changed images", change)

    material = Material(*features, subject.data, further, options.images, options.seed, device)
    metrics, images = {}, []
    for name in options.readings or READINGS:
        for label, value in READINGS[name](material):
            if isinstance(value, float):
                metrics[label] = value
            elif pictures is not None and distributed.rank() == 0:
                images.append(_save_picture(pictures.with_name(f"{pictures.stem}-{name}.png"), value))
    counts = {"train": len(features[0].rows), "val": len(features[1].rows), "skipped": len(features[1].skipped)}
    protocol = f"readings of frozen trunk features, at most {options.images} val images for the dear ones"
    seconds = time.perf_counter() - begun + sum(part.seconds for part in features)
    result = _result("readings", protocol, subject, options, metrics, counts, {}, seconds)
    result.artefacts["images"] = images
    return result


def _save_picture(path: Path, picture: Image.Image) -> str:
    """Write a PNG atomically; its name.

    Raises:
        UserError: it cannot be written.
    """
    try:
        write_atomically(path, partial(picture.save, format="PNG"))
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): make room for it.") from error
    return path.name


def _augmented(subject: Subject, options: Frozen, device: torch.device) -> Result:
    begun, data = time.perf_counter(), subject.data
    resize = resize_for(options.image_size, options.resize)
    test = (options.image_size, resize, options.batch_size, options.workers)
    outcome = linear_augmented.evaluate(
        subject.trunk(), subject.width, data, options.head, test, options.held_out, options.seed, device
    )
    counts = {"train": len(data.train), "val": len(data.val) - outcome.skipped_val, "skipped": outcome.skipped_val}
    protocol = linear_augmented.protocol(options.head)
    seconds = time.perf_counter() - begun
    return _result("linear", protocol, subject, options, outcome.metrics, counts, outcome.found, seconds)


def _labelled(data: Labelled, options: finetune.FineTune) -> subsets.Subset:
    """The labelled images of `semi`, told in one line."""
    finetune.check(options)
    if options.image_list:
        subsets.list_name(options.image_list)
        subset = subsets.from_list(data.train, options.image_list, options.max_absent)
        listed, known = subset.counts["listed"], subset.counts["absent_of_known_classes"]
        print(
            f"{options.image_list}: {len(subset.source)} of {listed} listed images are in {data.name}; {known} of the "
            "absent ones are of its classes",
            flush=True,
        )
    else:
        subset = subsets.from_fraction(data.train, options.fraction, options.seed)
        print(f"fraction {options.fraction:g}: {len(subset.source)} labelled images", flush=True)
    subsets.check_classes(subset.source)
    return subset


def _semi(subject: Subject, subset: subsets.Subset, options: finetune.FineTune, device: torch.device) -> Result:
    begun = time.perf_counter()
    labelled, train = set(subset.source.paths), subject.data.train
    rest = train.select([at for at, path in enumerate(train.paths) if path not in labelled])
    outcome = finetune.evaluate(subject.trunk(), subject.width, subset.source, subject.data.val, options, device, rest)
    which = subsets.list_name(options.image_list) if options.image_list else ""
    protocol = finetune.protocol(options, which or f"a balanced fraction of {options.fraction:g}")
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
        checkpoint_sha256=subject.sha256,
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
