"""One trunk on one labelled data set: checks before any long work, the chosen protocols, and their results."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn

from pretrain import comm, model
from pretrain.config import load
from pretrain.errors import UserError
from pretrain.files import sha256_of
from transfer import augmented, cache, finetune, heads, knn, linear, race, subsets
from transfer.convert import TrunkFile, build_trunk, read_trunk
from transfer.features import Features, check_finite, extract, resize_for
from transfer.heads import Head
from transfer.labelled import Labelled, open_labelled
from transfer.results import Result

PROBES = ("exact", "fast", "augmented")
WAIT = 24 * 60  # minutes that ranks wait for each other's features


@dataclass
class Frozen:
    """Options of `knn` and `linear`.

    resize: short side before the centre crop, 0 for 256/224 of image_size. cache: folder that keeps features, so that
    they are made once and an interrupted evaluation goes on; several processes need one that all of them see. k: a
    further number of neighbours, at DINO's temperature. probe: exact (logistic regression on cached features, weight
    decay chosen), fast (several settings at once on cached features, transfer/race.py) or augmented (the papers'
    protocols, transfer/augmented.py), the latter two with the options of `head`. held_out: share of train on which the
    linear probe chooses. workers: loader processes. threads: of the network on a CPU, 0 leaves torch's choice. device:
    auto|cpu|cuda.
    """

    image_size: int = 224
    resize: int = 0
    batch_size: int = 256
    cache: str = ""
    k: int = 0
    probe: str = "exact"
    head: Head = field(default_factory=Head)
    held_out: float = 0.2
    seed: int = 0
    workers: int = 4
    threads: int = 0
    device: str = "auto"


OPTIONS = {"knn": Frozen, "linear": Frozen, "semi": finetune.FineTune}


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
            return model.build_trunk(self.trunk_file.arch)[1]


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
        _several_processes(options)
    if isinstance(options, Frozen):
        _check_frozen(options)
    if options.threads:
        torch.set_num_threads(options.threads)
    on_gpu = options.device == "cuda" or (options.device == "auto" and torch.cuda.is_available())
    return torch.device("cuda", comm.local_rank()) if on_gpu else torch.device("cpu")


def _several_processes(options: Frozen | finetune.FineTune) -> None:
    if not isinstance(options, Frozen):
        raise UserError("semi runs in a single process: start it as one task.")
    if not options.cache:
        raise UserError("several processes share features on disk: give cache=FOLDER, one that all of them see.")


def _check_frozen(options: Frozen) -> None:
    if not 0 < options.held_out < 1:
        raise UserError(f"held_out={options.held_out} must be between 0 and 1.")
    if options.probe not in PROBES:
        raise UserError(f"probe={options.probe} is not known: choose one of {', '.join(PROBES)}.")
    if options.k < 0:
        raise UserError(f"k={options.k} must be a number of neighbours, or 0 for none beyond the usual ones.")
    heads.check(options.head)


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
    if "knn" in options:
        knn.at_most(options["knn"].k, len(data.train))
    subject = Subject(checkpoint, read_trunk(checkpoint), sha256_of(checkpoint), data)
    comm.start(device, timeout_minutes=WAIT)
    features: tuple[Features, Features] | None = None
    for task in tasks:
        if task == "semi":
            yield _semi(subject, labelled, options[task], device)
        elif task == "linear" and options[task].probe == "augmented":
            yield _augmented(subject, options[task], device)
        else:
            features = features or _features(subject, options[task], device)
            yield _frozen(task, subject, features, options[task], device)
    comm.stop()


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
    task: str, subject: Subject, features: tuple[Features, Features], options: Frozen, device: torch.device
) -> Result:
    train, val = features
    begun, classes = time.perf_counter(), len(subject.data.train.classes)
    if task == "knn":
        metrics, found = knn.evaluate(train, val, classes, device, options.k), {}
        protocol = knn.protocol(len(train.rows))
    elif options.probe == "fast":
        given = (options.head, options.held_out, options.seed, device)
        metrics, found = race.evaluate(train, val, classes, *given)
        protocol = race.PROTOCOL
    else:
        metrics, found = linear.evaluate(train, val, classes, device, options.held_out, options.seed)
        protocol = linear.PROTOCOL
    seconds = time.perf_counter() - begun + train.seconds + val.seconds
    counts = {"train": len(train.rows), "val": len(val.rows), "skipped": len(train.skipped) + len(val.skipped)}
    return _result(task, protocol, subject, options, metrics, counts, found, seconds)


def _augmented(subject: Subject, options: Frozen, device: torch.device) -> Result:
    begun, data = time.perf_counter(), subject.data
    resize = resize_for(options.image_size, options.resize)
    test = (options.image_size, resize, options.batch_size, options.workers)
    outcome = augmented.evaluate(
        subject.trunk(), subject.width, data, options.head, test, options.held_out, options.seed, device
    )
    counts = {"train": len(data.train), "val": len(data.val) - outcome.skipped_val, "skipped": outcome.skipped_val}
    protocol = augmented.protocol(options.head)
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
    subsets.check_classes(subset)
    return subset


def _semi(subject: Subject, subset: subsets.Subset, options: finetune.FineTune, device: torch.device) -> Result:
    begun = time.perf_counter()
    labelled, train = set(subset.source.paths), subject.data.train
    rest = train.chosen([at for at, path in enumerate(train.paths) if path not in labelled])
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
