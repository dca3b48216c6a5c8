"""The workers of detectron2's loaders: none of them hangs a run, and how they are started changes nothing."""

import multiprocessing
import os
import signal
import time

import pytest

pytest.importorskip("detectron2")

import torch
from detectron2.data import build_detection_test_loader, build_detection_train_loader
from detectron2.data.samplers import TrainingSampler

from helpers.detection_samples import FPN, QUIET, tiny, write_sets
from pretrain.runtime.errors import UserError
from transfer.detection import train
from transfer.detection.config import load
from transfer.detection.data import loading

pytestmark = [*QUIET, pytest.mark.slow]
RECORDS = [{"image_id": place, "width": 8, "height": 8} for place in range(4)]


def die(record):
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(record):
    time.sleep(600)


def training(mapper):
    given = {"sampler": TrainingSampler(4), "total_batch_size": 2, "aspect_ratio_grouping": False}
    return build_detection_train_loader(RECORDS, mapper=mapper, num_workers=1, **given)


def measuring(mapper):
    return build_detection_test_loader(RECORDS, mapper=mapper, num_workers=1)


@pytest.mark.parametrize("loader", [training, measuring])
@pytest.mark.parametrize(
    ("deed", "told"),
    [
        (die, r"a worker that reads birds_train has died \(Killed\), .* lower DATALOADER.NUM_WORKERS"),
        (sleep, r"no image has come for 0.02 minutes: .* try DATALOADER.NUM_WORKERS=0"),
    ],
    ids=["dead", "stuck"],
)
def test_a_worker_that_is_dead_or_stuck_ends_the_run_in_a_sentence(monkeypatch, loader, deed, told):
    monkeypatch.setattr(loading, "WAIT", 0.02 if deed is sleep else 5.0)
    with pytest.raises(UserError, match=told):
        next(iter(loading.Watched(loader(deed), "birds_train")))
    assert not multiprocessing.active_children()


def trained(sets, out):
    cfg = load.load_config(FPN, tiny(FPN, sets, "random", "DATALOADER.NUM_WORKERS=1"))
    metrics = train.train_detector(cfg, out, drawn=0).metrics
    return metrics, torch.load(out / "model_final.pth", weights_only=False)["model"]


def test_workers_that_are_not_forked_train_the_same_detector(tmp_path):
    """Python 3.14 starts processes by forkserver, and macOS nearly so: what a worker gets is sent to it."""
    sets, before = write_sets(tmp_path / "sets"), multiprocessing.get_start_method()
    expected, weights = trained(sets, tmp_path / "forked")
    multiprocessing.set_start_method("forkserver", force=True)
    try:
        metrics, same = trained(sets, tmp_path / "served")
    finally:
        multiprocessing.set_start_method(before, force=True)
    assert metrics == pytest.approx(expected)
    assert all(torch.equal(same[name], tensor) for name, tensor in weights.items())
