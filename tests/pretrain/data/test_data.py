"""Images are found, corrupt ones are passed over by name, and every step's images and views are reproducible."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from pretrain.augment.multicrop import MultiCrop
from pretrain.config import Views
from pretrain.data.loader import StepSampler, ViewDataset, collate
from pretrain.data.sources import open_source
from pretrain.runtime.errors import UserError

VIEWS = {
    name: value
    for name, value in asdict(Views(size=16)).items()
    if name != "photometry" and not name.startswith("local")
}


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(0)
    for label, name in enumerate(["cat", "dog"]):
        (tmp_path / name).mkdir()
        for index in range(5 + label):
            pixels = generator.integers(0, 255, (24, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{index}.png")
    return tmp_path


def test_class_folders_give_sorted_classes_and_labels(folder):
    source = open_source(folder)
    assert source.classes == ("cat", "dog") and len(source) == 11
    assert [path.parent.name for path in source.paths] == [source.classes[label] for label in source.labels]


def test_a_flat_folder_has_images_and_no_labels(folder):
    source = open_source(folder / "dog")
    assert (len(source), source.labels, source.classes) == (6, None, ())


@pytest.mark.parametrize("missing", ["nowhere", "empty"])
def test_a_missing_or_empty_folder_is_named(tmp_path, missing):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=missing):
        open_source(tmp_path / missing)


def test_a_corrupt_image_is_replaced_and_named(folder):
    source = open_source(folder)
    source.paths[3].write_bytes(source.paths[3].read_bytes()[:60])
    ((views,), draws), unreadable, _ = ViewDataset(source, MultiCrop(**VIEWS), 0)[0, 3]
    assert views.shape == (2, 3, 16, 16) and views.dtype == torch.uint8 and draws is None
    assert len(unreadable) == 1 and str(source.paths[3]) in unreadable[0]


def test_a_folder_of_nothing_but_corrupt_images_is_an_error(folder):
    source = open_source(folder)
    for path in source.paths:
        path.write_bytes(b"no image")
    with pytest.raises(UserError, match="can be decoded"):
        ViewDataset(source, MultiCrop(**VIEWS), 0)[0, 0]


def batches(source, workers, start=0):
    sampler = StepSampler(len(source), 4, 3, seed=7)
    sampler.start = start
    dataset = ViewDataset(source, MultiCrop(**VIEWS, local_count=1, local_size=8, photometry="device"), 7)
    loader = DataLoader(dataset, batch_sampler=sampler, num_workers=workers, collate_fn=collate)
    return [
        torch.cat([*(crop.flatten() for crop in batch.crops), *(drawn.flatten() for drawn in batch.draws)])
        for batch in loader
    ]


def test_views_depend_neither_on_workers_nor_on_where_the_run_was_resumed(folder):
    source = open_source(folder)
    alone, shared, resumed = batches(source, 0), batches(source, 2), batches(source, 1, start=3)
    assert len(alone) == 6
    for first, second in zip(alone, shared, strict=True):
        assert torch.equal(first, second)
    for first, second in zip(alone[3:], resumed, strict=True):
        assert torch.equal(first, second)


def test_reading_views_leaves_the_training_process_random_state_alone(folder):
    before = torch.random.get_rng_state()
    ViewDataset(open_source(folder), MultiCrop(**VIEWS), 0)[0, 0]
    assert torch.equal(before, torch.random.get_rng_state())


def test_ranks_share_each_batch_and_see_every_image_once_an_epoch():
    shares = [list(StepSampler(10, 4, 2, seed=0, rank=rank, world_size=2)) for rank in range(2)]
    whole = list(StepSampler(10, 4, 2, seed=0))
    for step, batch in enumerate(whole):
        assert sorted(shares[0][step] + shares[1][step]) == sorted(batch)
    for epoch in range(2):
        seen = [index for batch in whole for at, index in batch if at == epoch]
        assert len(seen) == len(set(seen)) == 8
    assert [index for _, index in whole[0]] != [index for _, index in whole[2]]


@pytest.mark.parametrize(
    ("images", "batch", "ranks", "told"), [(3, 4, 1, "fewer than one batch"), (9, 5, 2, "shared equally")]
)
def test_an_impossible_batch_is_told(images, batch, ranks, told):
    with pytest.raises(UserError, match=told):
        StepSampler(images, batch, 1, seed=0, world_size=ranks)
