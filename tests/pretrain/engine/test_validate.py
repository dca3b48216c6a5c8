"""View options that cannot work are refused before an image is read; too many workers only draw a warning."""

from __future__ import annotations

import os

import pytest
import torch

from pretrain.augment.multicrop import place
from pretrain.config import Config, load
from pretrain.engine.validate import ready
from pretrain.runtime.errors import UserError


def configure(*words):
    return load(Config, None, ["run_dir=r", "data.root=d", "run.device=cpu", "data.workers=0", *words])


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("views.photometry=gpu", "auto, worker, device"),
        ("views.local_count=-1", "at least 0"),
        ("views.local_size=4", "at least 8"),
        ("views.local_min_scale=0", "above 0"),
        ("views.max_scale=0.1", "the lesser share first"),
        ("views.max_scale=1.5", "at most 1"),
        ("views.blur_probability=2", "at least 0 and at most 1"),
        ("views.hue=0.7", "at most 0.5 turns"),
        ("views.global_count=1", "at least 2"),
        ("views.first.solarize_probability=1.5", "at least 0 and at most 1"),
        ("views.second.hue=0.6", "at most 0.5"),
        ("views.contrast=-1", "at least 0"),
        ("data.workers=-1", "at least 0"),
    ],
)
def test_an_impossible_option_is_named(word, told):
    with pytest.raises(UserError, match=told) as caught:
        ready(configure(word))
    assert word.partition("=")[0] in str(caught.value)


def test_more_workers_than_cores_draw_one_sentence(capsys):
    cores = len(os.sched_getaffinity(0))
    ready(configure(f"data.workers={cores}"))
    assert capsys.readouterr().err == ""
    ready(configure(f"data.workers={cores + 1}"))
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and f"data.workers={cores + 1} is more than the {cores} cores" in told


def test_auto_leaves_photometry_to_a_gpu_and_keeps_a_cpus_in_the_workers():
    assert [place("auto", torch.device(kind)) for kind in ("cuda", "cpu")] == ["device", "worker"]
    assert place("worker", torch.device("cuda")) == "worker" and place("device", torch.device("cpu")) == "device"


@pytest.mark.parametrize("name", ["barlow_twins", "barlow_twins_identity", "barlow_twins_l2"])
def test_a_row_that_pairs_two_views_refuses_three_global_ones(name):
    with pytest.raises(UserError, match=f"views.global_count=3 does not go with method.name={name}"):
        ready(configure("views.global_count=3", f"method.name={name}"))


def test_a_queue_takes_the_samples_of_all_global_views():
    words = ["method.name=moco", "optim.batch_size=32", "views.global_count=3"]
    ready(configure(*words, "method.queue_size=192"))
    with pytest.raises(UserError, match="not divisible by the 96 samples"):
        ready(configure(*words, "method.queue_size=128"))
