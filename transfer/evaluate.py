"""Trunks on one labelled data set: checks before any long work, the chosen evaluators, and their results."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pretrain.runtime import distributed
from pretrain.runtime.devices.device import choose_device
from pretrain.runtime.digests import digests_of
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import sha256_of
from pretrain.runtime.options import check, load
from pretrain.runtime.printable import say
from pretrain.runtime.processes.watch import Patience, deaths_told
from pretrain.runtime.urls import spelled
from pretrain.weights import of_all_ranks
from pretrain.weights.hub.names import recorded
from pretrain.weights.read_trunk import SILENT, read_trunk
from pretrain.weights.trunk import TrunkFile
from transfer import artefacts, tasks
from transfer.datasets.asked import Opening, opened
from transfer.datasets.labelled import Labelled
from transfer.evaluators import Evaluator, Needs, Outcome, Subject, evaluators, find_evaluator
from transfer.features.on_device import chosen_precision
from transfer.features.pictures import resize_for
from transfer.features.rows import counts_of
from transfer.options import Common, check_common, combined, part_of
from transfer.results import Result, init_of
from transfer.source import Source

WAIT = 24 * 60  # minutes that ranks wait for each other's features
FROZEN = (Needs.FROZEN_ROWS, Needs.OTHER_ROWS)


@dataclass(frozen=True)
class Chosen:
    """An evaluator and its options. own: an instance of the evaluator's own."""

    evaluator: Evaluator
    common: Common
    own: Any

    def settings(self) -> dict[str, Any]:
        """All options, as result files have them."""
        return {**asdict(self.common), **asdict(self.own)}


def choose(name: str, config: Path | None, overrides: Sequence[str], what: str = "task") -> Chosen:
    """An evaluator and its options, checked as far as neither data nor machine is needed.

    Options of other evaluators are read past, so that one YAML and one command line can serve several.

    Args:
        name: of the evaluator.
        config: YAML of options, None for none.
        overrides: of the form key=value.
        what: stands before the name in the message.

    Raises:
        UserError: an unknown evaluator or option, a value that it cannot have, or two that do not go together.
    """
    evaluator = find_evaluator(name, what)
    others = [other.options for other in evaluators().values()]
    given: Any = load(combined([Common, evaluator.options, *others]), config, overrides)
    common = part_of(given, Common)
    own: Any = part_of(given, evaluator.options)
    check(common)
    check(own)
    check_common(common)
    evaluator.check(own, common)
    return Chosen(evaluator, common, own)


def evaluate(
    names: Sequence[str],
    checkpoints: Sequence[Path],
    root: Path,
    config: Path | None,
    overrides: Sequence[str],
    files: Mapping[tuple[Path, str, str], Path],
) -> Iterator[tuple[Path, Result]]:
    """A result and its file for each of `checkpoints`, data sets and `names`, in that order.

    Evaluators share frozen rows.

    A result with pictures comes twice: with its numbers alone before they are drawn, and with their names afterwards.

    Args:
        names: of evaluators.
        checkpoints: any files that `pretrain.weights` reads, each as `distinct` gives it.
        root: of train/CLASS/ and val/CLASS/, or of the public data sets that sets names.
        config: YAML of options, None for none.
        overrides: of the form key=value.
        files: result files by checkpoint, evaluator and data set ("" for own folders); pictures are written beside.

    Raises:
        UserError: anything wrong with the options, a checkpoint or the data, before the first long computation.
    """
    chosen = _chosen(names, config, overrides)
    common = chosen[0].common
    device = choose_device(common.device)
    if common.threads:
        torch.set_num_threads(common.threads)
    data = opened(chosen, root)
    for place, checkpoint in enumerate(checkpoints):
        trunk_file, sha256 = read_trunk(checkpoint), sha256_of(checkpoint)
        _tell_silent(checkpoint, trunk_file)
        if place == 0:
            distributed.start(device, timeout_minutes=WAIT)
        of_all_ranks.check_same(recorded(checkpoint), sha256)
        for one, source in _sources(chosen, data, checkpoint, trunk_file, sha256, device):
            yield from _results(one, source, files[checkpoint, one.evaluator.name, source.data.benchmark])
    distributed.stop()


def distinct(checkpoints: Sequence[Path]) -> list[Path]:
    """Checkpoints of which no two hold the same trunk, by epoch: best.pth is one of the others, and no second trial.

    Raises:
        UserError: one of them cannot be read.
    """
    if len(checkpoints) < 2:
        return list(checkpoints)
    found: dict[str, tuple[float, bool, int, Path]] = {}
    for place, path in enumerate(checkpoints):
        trunk = read_trunk(path)
        epoch = trunk.meta.get("epoch")
        same = repr(sorted(digests_of(trunk.state).items()))
        mine = (epoch if isinstance(epoch, int | float) else math.inf, not path.stem.startswith("epoch_"), place, path)
        first, second = sorted((found.get(same, mine), mine))
        if first is not second and distributed.asked_rank() == 0:
            say(f"note: {second[-1]} holds the trunk of {first[-1].name}, which is measured once")
        found[same] = first
    return [path for *_, path in sorted(found.values())]


def _sources(
    chosen: Sequence[Chosen],
    data: Sequence[Mapping[Opening | None, Labelled]],
    checkpoint: Path,
    trunk_file: TrunkFile,
    sha256: str,
    device: torch.device,
) -> Iterator[tuple[Chosen, Source]]:
    """Each evaluator with the trunk on each data set; those that open a set alike share its rows.

    Args:
        chosen: the evaluators, with the same common options.
        data: the sets as `opened` gives them.
        checkpoint, trunk_file, sha256: the trunk's file, what it holds, and its digest.
        device: where the rows are computed.
    """
    for together in data:
        sources = {
            how: Source(checkpoint, trunk_file, sha256, images.of_bits(trunk_file.bits), chosen[0].common, device)
            for how, images in together.items()
        }
        for one in chosen:
            yield one, sources[one.evaluator.open_data if one.evaluator.open_data in together else None]


def _results(one: Chosen, source: Source, file: Path) -> Iterator[tuple[Path, Result]]:
    """The result of one evaluator and its file; again with the names of what was written, then drawn, beside it."""
    with deaths_told(
        Patience(source.common.timeout_minutes, spelled(source.data.train.root.parent), "workers", "timeout_minutes")
    ):
        result, outcome = _measure(one, source)
    yield file, result
    beside = {} if outcome.per_image is None else {"per_image": artefacts.keep_per_image(file, outcome.per_image)}
    beside |= {} if outcome.head is None else {"head": artefacts.keep_head(file, source, outcome)}
    if beside:
        result = replace(result, artefacts=result.artefacts | beside)
        yield file, result
    if outcome.pictures and distributed.rank() == 0:
        images = [artefacts.draw(file, name, draw) for name, draw in outcome.pictures.items()]
        yield file, replace(result, artefacts=result.artefacts | {"images": images})


def _chosen(names: Sequence[str], config: Path | None, overrides: Sequence[str]) -> list[Chosen]:
    """The evaluators called `names` with their options, which fit this number of processes; unused options are told."""
    chosen = [choose(name, config, overrides) for name in names]
    _tell_unused(chosen, overrides)
    for one in chosen:
        _check_processes(one)
    return chosen


def _tell_unused(chosen: Sequence[Chosen], overrides: Sequence[str]) -> None:
    """Say which of the typed options belong to evaluators that were not asked for."""
    known = {name for one in chosen for name in one.settings()}
    for name in dict.fromkeys(override.partition("=")[0].partition(".")[0] for override in overrides):
        if name not in known:
            asked = ", ".join(one.evaluator.name for one in chosen)
            say(f"note: {name} is no option of {asked}: it changes nothing here")


def _tell_silent(checkpoint: Path, trunk_file: TrunkFile) -> None:
    """Say that a network whose residual blocks add nothing is no fair baseline; its results carry it too."""
    silent = trunk_file.meta.get(SILENT)
    if silent and distributed.asked_rank() == 0:
        say(
            f"note: {silent} residual blocks of {checkpoint} start at zero and add nothing "
            "(model.zero_init_residual=true): as a baseline it is weaker than the same network with live blocks"
        )


def _check_processes(chosen: Chosen) -> None:
    """Refuse several processes where the evaluator cannot share its work among them."""
    if distributed.asked_world_size() == 1:
        return
    if not chosen.evaluator.several_processes:
        raise UserError(f"{chosen.evaluator.name} runs in a single process: start it without torchrun.")
    if chosen.evaluator.needs(chosen.own) in FROZEN and not chosen.common.cache:
        raise UserError("several processes share features on disk: give cache=FOLDER, one that all of them see.")


def _measure(chosen: Chosen, source: Source) -> tuple[Result, Outcome]:
    """The result of one evaluator, and its outcome with what is written beside the result.

    Its seconds include computing the rows, even where an earlier one did that.
    """
    rows = source.rows if chosen.evaluator.needs(chosen.own) is Needs.FROZEN_ROWS else ()
    begun = time.perf_counter()
    computed = (lambda: source.rows, source.common, source.device, source.trunk_file.arch, source.other_rows)
    others = (source.rows_of, lambda: source.trunk_sha256)
    subject = Subject(source.data, source.trunk, source.width, *computed, *others)
    outcome = chosen.evaluator.measure(subject, chosen.own)
    seconds = time.perf_counter() - begun + sum(part.seconds for part in rows)
    counts = counts_of(*source.rows) if outcome.counts is None else outcome.counts
    return _result(chosen, source, outcome, counts, seconds), outcome


def _result(chosen: Chosen, source: Source, outcome: Outcome, counts: dict[str, int], seconds: float) -> Result:
    meta, common, found = source.trunk_file.meta, chosen.common, outcome.details
    if chosen.evaluator.needs(chosen.own) in FROZEN:
        found = found | {"frozen_precision_used": chosen_precision(common.frozen_precision, source.device)}
    kind = "" if common.interpolation == "bilinear" else f", {common.interpolation}"
    resize = f"{resize_for(common.image_size, common.resize)}{kind}"
    usual = f"val under Resize({resize}) + CenterCrop({common.image_size})"
    return Result(
        task=chosen.evaluator.name,
        protocol=f"{outcome.protocol}; {outcome.seen or usual}",
        dataset=source.data.name,
        metrics=outcome.metrics,
        counts={**counts, "classes": len(source.data.train.classes)},
        seed=common.seed,
        init=init_of(meta),
        arch=source.trunk_file.arch,
        checkpoint=recorded(source.checkpoint),
        checkpoint_sha256=source.sha256,
        pretraining=meta,
        seconds=round(seconds, 3),
        settings={**chosen.settings(), "found": found},
    )


def line(result: Result) -> str:
    """A result in one line."""
    metrics = ", ".join(f"{name} {value:.2f} {tasks.unit(result.task, name)}" for name, value in result.metrics.items())
    counts = ", ".join(f"{name} {count}" for name, count in result.counts.items())
    epoch = result.pretraining.get("epoch")
    after = f" after epoch {epoch:g}" if result.init == "pretrained" and isinstance(epoch, int | float) else ""
    of = f"{result.task} on {result.dataset}, {result.init} {result.arch}{after}"
    return f"{of}: {metrics} | {result.protocol} | {counts}, seed {result.seed}, {result.seconds:.0f} s"
