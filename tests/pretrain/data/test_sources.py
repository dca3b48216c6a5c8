"""The same images give the same views, order and resumed steps in whatever way they are stored."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
import torch

from helpers import stored
from pretrain.augment.multicrop import MultiCrop
from pretrain.config import Views
from pretrain.data.compact import Ints, Paths, Strings
from pretrain.data.loader import StepSampler, ViewDataset
from pretrain.data.sources import kinds, open_source
from tools.prepare_data import main as prepare
from transfer.datasets.labelled import open_labelled, open_pair

VIEWS = dataclasses.asdict(Views(size=8)) | {"photometry": "worker"}
BY_NUMBER = ("WebDataset", "txt with labels")  # whose classes have no names
BY_ROW = (
    "arrays",
    "compressed arrays",
    "arrays, channels first",
    "parquet",
    "parquet at a URL",
    "saved",
)  # whose images have none


@pytest.fixture(params=stored.WAYS)
def way(request):
    if "parquet" in request.param or request.param == "saved":
        pytest.importorskip("pyarrow")
    return request.param


def read(source):
    return [source.read_pixels(at) for at in range(len(source))]


def steps(source, start=0):
    """The views of all steps of three epochs from one step on, with their keys."""
    sampler = StepSampler(len(source), 2, 3, seed=5)
    sampler.start = start
    dataset = ViewDataset(source, MultiCrop(**VIEWS), 5)
    return [(key, dataset[key][0].crops[0]) for batch in sampler for key in batch]


def test_the_same_images_are_the_same_set_however_they_are_stored(way, tmp_path):
    source = open_source(stored.WAYS[way](tmp_path), labelled=True)
    assert np.array_equal(read(source), stored.pixels())
    assert source.labels == (0, 0, 0, 1, 1, 1) and source.label(3) == 1
    assert source.classes == (("0", "1") if way in BY_NUMBER else stored.CLASSES)
    assert len({source.key(at) for at in range(6)}) == 6 and len({source.fingerprint(at) for at in range(6)}) == 6
    if way not in (*BY_NUMBER[:1], *BY_ROW, "several"):
        assert [source.key(at) for at in range(6)] == list(stored.files())
    assert source.about.count("6 images") == 1 and "2 classes" in source.about or way == "several"


def test_views_order_and_a_resumed_run_are_those_of_the_folder(way, tmp_path):
    (tmp_path / "files").mkdir()
    whole = steps(open_source(stored.folder(tmp_path / "files")))
    source = open_source(stored.WAYS[way](tmp_path))
    for start in (0, 4):  # the second step of the second epoch
        found = steps(source, start)
        assert [key for key, _ in found] == [key for key, _ in whole[2 * start :]]
        assert all(torch.equal(one, other) for (_, one), (_, other) in zip(found, whole[2 * start :], strict=True))


def test_a_source_is_sent_to_a_worker_small_and_reads_there(way, tmp_path):
    source = open_source(stored.WAYS[way](tmp_path))
    expected = read(source)
    sent = pickle.dumps(source)
    assert len(sent) < 8000 and np.array_equal(read(pickle.loads(sent)), expected)
    part = source.select([4, 1])
    assert np.array_equal(read(part), stored.pixels()[[4, 1]])
    assert part.labels == (source.labels[4], source.labels[1]) and part.key(0) == source.key(4)


def test_what_there_is_one_of_for_each_image_is_kept_in_arrays(way, tmp_path):
    source = open_source(stored.WAYS[way](tmp_path))
    assert isinstance(source.paths, Paths) and isinstance(source.labels, Ints)
    assert source.names is None or isinstance(source.names, Strings)
    assert source.places is None or isinstance(source.places, Ints)


def test_any_source_can_be_packed(way, tmp_path):
    root = stored.WAYS[way](tmp_path)
    for _ in range(2):  # the second time finds its own work
        prepare(["pack", str(root), str(tmp_path / "packed"), "--workers", "1", "--short-side", "0"])
    source, packed = open_source(root), open_source(tmp_path / "packed")
    assert np.array_equal(read(packed), stored.pixels()) and packed.labels == source.labels
    assert [packed.key(at) for at in range(6)] == [source.key(at) for at in range(6)]


def test_every_kind_is_tried_here_and_no_root_is_of_two(tmp_path):
    seen = set()
    for number, make in enumerate(stored.WAYS.values()):
        (tmp_path / str(number)).mkdir()
        root = str(make(tmp_path / str(number)))
        takers = [kind.name for kind in kinds() if kind.takes(root)]
        assert len(takers) <= 1
        seen.update(takers)
    assert seen == {kind.name for kind in kinds()} - {"packed"}


def test_evaluation_takes_parts_of_any_kind_and_both_in_one_archive(tmp_path):
    held = {f"{part}/{name}": data for part in ("train", "val") for name, data in stored.files().items()}
    one = open_labelled(stored.zipped(tmp_path / "both.zip", held))
    (tmp_path / "set").mkdir()
    stored.zipped(tmp_path / "set" / "train.zip", stored.files())
    stored.tar(tmp_path / "set" / "val-0.tar", stored.files())
    two = open_labelled(tmp_path / "set")
    for data in (one, two):
        assert data.train.labels == data.val.labels == (0, 0, 0, 1, 1, 1) and data.val.classes == stored.CLASSES
        assert np.array_equal(read(data.val), stored.pixels())


def test_a_list_and_arrays_are_numbered_by_the_classes_of_train(tmp_path):
    stored.folder(tmp_path / "images")
    (tmp_path / "val.csv").write_text("file,class\nimages/bee/05.png,bee\n")
    np.savez(tmp_path / "train.npz", x=stored.pixels(), y=[[0], [0], [0], [1], [1], [1]], classes=["ant", "bee"])
    train, val = open_pair(tmp_path / "train.npz", tmp_path / "val.csv")
    assert train.classes == val.classes and val.labels == (1,)
