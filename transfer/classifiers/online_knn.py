"""k-NN accuracy of a trunk while it is being pretrained: one of Figure 2's curves."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import nn

from pretrain.config import Config
from pretrain.data.folders.root import check_folder
from pretrain.data.sources import FOLDER, ImageSource, Reading, kind_of
from pretrain.runtime.errors import UserError
from transfer.classifiers.accuracy import top
from transfer.classifiers.knn import votes
from transfer.datasets.labelled import open_pair, thinned
from transfer.features.extract import extract
from transfer.features.on_device import chosen_precision, whole
from transfer.features.pictures import name_unreadable, resize_for, room_of
from transfer.features.rows import Features
from transfer.options import WAIT

BATCH = 256
NEIGHBOURS, TEMPERATURE = 20, 0.07  # DINO's setting


@dataclass(frozen=True)
class KnnProbe:
    """`probe(trunk)` is {"knn_top1": percent of val}: k-NN with DINO's k = 20, T = 0.07, labels from train.

    Images under the test transform at `image_size`; k is clipped to train. The trunk computes in bf16 on a GPU that has
    it. It stays on its device and is left as it was: weights, statistics and training mode, and the random state too,
    so that a run is the same without a probe.
    """

    train: ImageSource
    val: ImageSource
    image_size: int
    workers: int
    minutes: float = WAIT
    named: set[str] = field(default_factory=set)  # unreadable files, named once a run and not once an epoch

    @property
    def room(self) -> int:
        """Bytes of shared memory that its loader needs at most."""
        return room_of(BATCH, self.image_size, self.workers)

    def __call__(self, trunk: nn.Module) -> dict[str, float]:
        device = next(trunk.parameters()).device
        with torch.random.fork_rng(devices=[]):  # a loader draws a seed for its workers
            train, val = (self._features(trunk, source, device) for source in (self.train, self.val))
        rows, queries = whole(train.rows, device), whole(val.rows, device)
        scores = votes(rows, train.labels, queries, len(self.train.classes), min(NEIGHBOURS, len(rows)), TEMPERATURE)
        return {"knn_top1": top(scores.cpu(), val.labels, 1)}

    def _features(self, trunk: nn.Module, source: ImageSource, device: torch.device) -> Features:
        resize = resize_for(self.image_size)
        given = (self.image_size, resize, BATCH, self.workers, device)
        precision = chosen_precision("auto", device)
        features = extract(trunk, source, *given, what=None, minutes=self.minutes, precision=precision)
        name_unreadable(reason for reason in features.skipped if reason not in self.named)
        self.named.update(features.skipped)
        return features


def build_probe(cfg: Config) -> KnnProbe | None:
    """The probe of data.val for features of data.root, at most run.knn_images of each; None where data.val is not set.

    Raises:
        UserError: one of the two is missing or has no labels, val has a class that root has not, or run.knn_images is
            below the number of classes.
    """
    if not cfg.data.val:
        return None
    if kind_of(cfg.data.val) is FOLDER:
        check_folder(cfg.data.val, "class folders in data.val, or leave k-NN accuracy out")
    pair = open_pair(cfg.data.root, cfg.data.val, cfg.data.class_depth, Reading.of(cfg.data))
    train, val = (replace(source, bits=cfg.data.bits) for source in pair)
    most = cfg.run.knn_images
    if most < len(train.classes):
        raise UserError(f"run.knn_images={most} is below the {len(train.classes)} classes of {train.where}: raise it.")
    given = (cfg.views.size, cfg.data.workers, cfg.run.timeout_minutes)
    return KnnProbe(thinned(train, most), thinned(val, most), *given)
