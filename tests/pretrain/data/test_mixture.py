"""Several roots with weights: how often each image of each is drawn, when, and that views of one never come again."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
import torch

from helpers import stored, tiny_runs
from pretrain.augment.multicrop import MultiCrop
from pretrain.config import Config, Views, load
from pretrain.data.loader import StepSampler, ViewDataset
from pretrain.data.mixture import Mixture
from pretrain.data.sources import Reading, open_source
from pretrain.train import train


@pytest.mark.parametrize("weights", [(0.7, 0.3), (0.1, 0.9), (1 / 3, 2 / 3)])
def test_each_root_fills_its_share_of_an_epoch_and_shows_all_its_images_equally_often(weights):
    mixture, epochs = Mixture((30, 11), weights), 23
    assert sum(mixture.places()) == 41
    seen = Counter()
    for epoch in range(epochs):
        order = mixture.order(0, epoch)
        assert len(set(order.tolist())) == 41  # a number for every place, so no view comes twice
        images = order.remainder(41)
        assert int((images < 30).sum()) == mixture.places()[0] == pytest.approx(41 * weights[0], abs=1)
        seen.update(images.tolist())
    for part in (range(30), range(30, 41)):
        counts = [seen[image] for image in part]
        assert max(counts) - min(counts) <= 1
    assert mixture.order(0, 3).tolist() == mixture.order(0, 3).tolist() != mixture.order(0, 4).tolist()
    assert mixture.order(0, 3).tolist() != mixture.order(1, 3).tolist()


def test_an_image_that_comes_again_in_an_epoch_has_other_views(tmp_path):
    stored.folder(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "one.png").write_bytes(stored.png(stored.pixels()[0]))
    source = open_source(f"[{tmp_path}/a,{tmp_path}/b]", reading=Reading(weights=(0.5, 0.5)))
    assert source.labels is None and len(source) == 7 and source.about.endswith("together 7 images, weights 0.5, 0.5")
    sampler = StepSampler(7, 7, 1, 0, mixture=source.mixture)
    (keys,) = list(sampler)
    again = [key for key in keys if key[1] % 7 == 6]
    assert len(again) in (3, 4)
    dataset = ViewDataset(source, MultiCrop(**dataclasses.asdict(Views(size=16, photometry="worker"))), 0)
    views = [dataset[key][0].crops[0] for key in again]
    assert not any(torch.equal(one, other) for at, one in enumerate(views) for other in views[:at])


@pytest.mark.slow
def test_a_weighted_run_resumes_bit_for_bit_in_the_middle_of_an_epoch(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        tiny_runs.write_images(tmp_path / name)
    roots = f"data.root=[{tmp_path}/a,{tmp_path}/b]"
    ends = []
    for name, parts in (
        ("whole", ("optim.epochs=2",)),
        ("parts", ("run.checkpoint_every_epochs=0.6", "optim.epochs=2")),
    ):
        words = [*tiny_runs.TINY, roots, "data.weights=[.25,.75]", f"run_dir={tmp_path / name}", *parts]
        train(load(Config, None, words))
        if name == "parts":
            newest = sorted((tmp_path / name / "checkpoints").glob("step_*.pth"))
            newest[-1].unlink()  # as if the run had been killed after the one before, at step 9 of 5 an epoch
            train(load(Config, None, words))
        ends.append(tiny_runs.last_checkpoint(tmp_path / name))
    tiny_runs.assert_same(ends[0]["model"], ends[1]["model"])


def test_a_yaml_file_may_give_several_roots_as_a_list(tmp_path):
    (tmp_path / "a.yaml").write_text("data:\n  root: [one/train, 'two,3']\n  weights: [.7, .3]\n")
    cfg = load(Config, tmp_path / "a.yaml")
    assert (cfg.data.root, cfg.data.weights) == ("[one/train,two,3]", [0.7, 0.3])
