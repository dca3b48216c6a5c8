"""Evaluators on a GPU that is not there (helpers/fake_gpu.py): where the host waits for it, and where it must not.

The number of waits is that of a whole evaluation and no more, however many blocks, batches or steps it has.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException

from helpers.fake_gpu import Watched, fake_gpu, fake_ranks
from helpers.painted import paint
from pretrain.data.sources import open_source
from transfer.analysis import FrozenRows, few_shot, retrieval
from transfer.classifiers import finetune, knn
from transfer.classifiers.finetune_options import FineTune
from transfer.classifiers.linear import augmented_heads, racing_heads, sgd_heads
from transfer.classifiers.linear.head_options import Head
from transfer.classifiers.linear.sgd_heads import Heads
from transfer.datasets.labelled import Labelled
from transfer.features import on_device
from transfer.features.extract import extract_with, outputs
from transfer.features.on_device import DeviceRows, to_device
from transfer.features.pictures import Pictures, batches_of, evaluation_transform, room_of
from transfer.features.rows import Features, RowFile
from transfer.options import Common

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
WIDTH, CLASSES = 6, 4


@pytest.fixture
def on_disk(tmp_path):
    """A bank of 50 rows in a file."""
    rows = torch.randn(50, WIDTH, generator=torch.Generator().manual_seed(0))
    rows.numpy().tofile(tmp_path / "rows")
    return RowFile(tmp_path / "rows", (50, WIDTH))


def launched(work, memory=80 * 2**30, waits=0):
    with fake_gpu(memory), Watched(pinned=True, waits=waits) as watched:
        work()
    return watched


def read_first_in(work, memory=80 * 2**30):
    """The functions that the host was in when it first read a number of the device; what had been launched by then."""
    with fake_gpu(memory), Watched(pinned=True) as watched, pytest.raises(DataDependentOutputException) as caught:
        work()
    return {entry.name for entry in caught.traceback}, watched


@pytest.mark.parametrize("room", [True, False])
def test_a_bank_is_read_once_and_copied_once_where_the_device_has_room(on_disk, monkeypatch, room):
    monkeypatch.setattr(on_device, "PART", 20)
    memory = on_device.SPARE + 50 * WIDTH * 4 - (0 if room else 1)
    copies = {}

    def passes(count):
        def work():
            bank = DeviceRows(on_disk, GPU)
            assert (bank.home == GPU) is room
            for _ in range(count):
                assert [len(block) for block in bank.blocks(25)] == [25, 25]
                at = to_device(torch.tensor([3, 1]), bank.home)
                assert bank.pick(at).shape == (2, WIDTH) and bank.pick(at).device == GPU

        return work

    for count in (1, 2):
        copies[count] = launched(passes(count), memory).copies
    assert copies == ({1: 3 + 1, 2: 3 + 2} if room else {1: 2 + 2, 2: 2 * (2 + 2)})


def test_rows_of_a_file_go_to_the_device_in_parts(on_disk, monkeypatch):
    monkeypatch.setattr(on_device, "PART", 20)
    assert launched(lambda: on_device.whole(on_disk, GPU)).copies == 3
    assert torch.equal(on_device.whole(on_disk, CPU), on_disk[:])


@pytest.mark.parametrize("room", [True, False])
@pytest.mark.parametrize("block", [25, 5])
def test_nearest_neighbours_are_read_once_however_many_blocks_there_are(on_disk, monkeypatch, block, room):
    monkeypatch.setattr(knn, "BANK", block)
    monkeypatch.setattr(knn, "QUERIES", 3)
    memory = 80 * 2**30 if room else 0
    watched = launched(lambda: knn.nearest(on_disk, torch.randn(7, WIDTH), 4, GPU), memory, waits=2)
    assert watched.waits == 0  # cosines and indices
    assert watched.by_operator["aten.mm.default"] == 3 * 50 // block
    assert watched.copies == 3 + (1 if room else 50 // block)  # chunks of queries; the bank, once for all of them


def heads(count):
    chosen = [sgd_heads.Setting(0.1, 1e-4)] * count
    return Heads(Head(optimiser="lars", nesterov=True, epochs=2), chosen, CLASSES, WIDTH, 0).to(GPU)


@pytest.mark.parametrize("ranks", [1, 8])
def test_a_step_of_heads_copies_nothing(ranks):
    def work():
        trained, rows, labels = (
            heads(3),
            torch.randn(8, WIDTH, device=GPU),
            torch.zeros(8, dtype=torch.int64, device=GPU),
        )
        with Watched() as step:
            assert trained.step(rows, labels, 0.5).shape == (3,)
        trained.keep([2, 0])
        assert trained.step(rows, labels, 0.5).shape == (2,) and step.copies == 0 and step.launches > 30

    with fake_ranks(ranks):
        launched(work)


def features(count):
    labels = torch.arange(count) % CLASSES
    return Features(torch.randn(count, WIDTH), labels, tuple(map(str, range(count))), (), 0.0)


def test_a_race_is_read_at_the_ends_of_its_rounds_alone():
    options = Head(epochs=4, batch_size=8)
    given = (features(40), CLASSES, options)

    def race(lrs):
        racing_heads.race(*given, [sgd_heads.Setting(lr, 0.0) for lr in lrs], 0.2, 0, GPU)

    alone = launched(lambda: race([0.1]))
    assert alone.by_operator["aten.addmm.default"] == 20  # every step, and the host never waited
    assert alone.copies < 4 + 20  # a permutation an epoch, and what is moved once
    functions, until = read_first_in(lambda: race([0.1, 0.2]))
    assert "top1_of_each" in functions and until.by_operator["aten.addmm.default"] == 8 + 1


def network():
    return nn.Sequential(
        nn.Conv2d(3, WIDTH, 3, bias=False), nn.BatchNorm2d(WIDTH), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return open_source(paint(tmp_path_factory.mktemp("place") / "colours", 4))


def test_the_next_batch_of_images_is_under_way_before_one_is_handed_out(images):
    def work():
        pictures, batches = Pictures(images, evaluation_transform(8, 8)), batches_of(range(len(images)), 3)
        found = outputs(network(), pictures, batches, 0, GPU, None, 1.0, room_of(3, 8, 0), "bf16")
        with Watched(pinned=True) as watched:
            rows, read, _ = next(found)
            assert rows.shape == (3, WIDTH) and rows.dtype == torch.float32 and read == [0, 1, 2]
            assert sum(count for name, count in watched.by_operator.items() if "conv" in name) == 2
            assert [read for _, read, _ in found] == [[3, 4, 5], [6, 7, 8], [9, 10, 11]]

    launched(work)


COMMON = Common(image_size=8, resize=8, batch_size=4, workers=0)


def test_heads_on_augmented_images_never_make_the_host_wait(images):
    watched = launched(lambda: augmented_heads._train(network(), heads(2), images, 4, COMMON, GPU))
    assert watched.by_operator["aten.convolution.default"] == 3 * 2  # batches of two epochs


@pytest.mark.parametrize("ranks", [1, 4])
def test_fine_tuning_is_read_once_an_epoch(images, ranks):
    def work():
        tuned = finetune.placed(finetune.add_head(network(), WIDTH, CLASSES, 0), GPU)
        finetune.fit(tuned, images, FineTune(precision="bf16"), COMMON, GPU)

    with fake_ranks(ranks):
        functions, until = read_first_in(work)
    assert "_mean_loss" in functions  # a divergence ends it
    assert until.by_operator["aten.convolution_backward.default"] == 3


class Reads(nn.Module):
    """Scales by a number that it reads from the device: a fault."""

    def forward(self, rows):
        return rows * rows.mean().item()


def test_a_trunk_that_reads_is_caught_at_its_first_batch(images):
    def train_heads(faulty):
        augmented_heads._train(faulty, heads(2), images, 4, COMMON, GPU)

    def tune(faulty):
        tuned = finetune.placed(finetune.add_head(faulty, WIDTH, CLASSES, 0), GPU)
        finetune.fit(tuned, images, FineTune(), COMMON, GPU)

    def read_features(faulty):
        extract_with(COMMON, faulty, images, GPU)

    for work in (train_heads, tune, read_features):
        _, until = read_first_in(lambda work=work: work(nn.Sequential(network(), Reads())))
        assert sum(count for name, count in until.by_operator.items() if "conv" in name) == 1


class Classes:
    """As much of a set of images as readings of rows ask for."""

    classes = ("a", "b", "c", "d")


def frozen(count):
    train, val = features(40), features(count)
    return FrozenRows(train, val, Labelled("drawn", Classes(), Classes()), None, 1000, 0, GPU)


@pytest.mark.parametrize(("memory", "products"), [(80 * 2**30, 3), (0, 2)])
def test_readings_are_read_when_all_queries_are_ranked(monkeypatch, memory, products):
    """Three times four queries are ranked; where the bank has no room, eight of them in one pass over it."""
    monkeypatch.setattr(retrieval, "QUERIES", 4)
    monkeypatch.setattr(retrieval, "PASS", 8)
    functions, until = read_first_in(lambda: list(retrieval.mean_average_precision(frozen(10))), memory)
    assert "mean_average_precision" in functions
    assert sum(count for name, count in until.by_operator.items() if "sort" in name) == 3
    assert until.by_operator["aten.mm.default"] == products
    functions, until = read_first_in(lambda: list(few_shot.few_shot_accuracy(frozen(10))))
    assert until.by_operator["aten.mm.default"] == few_shot.DRAWS


@pytest.mark.parametrize(
    ("asked", "device", "used"), [("auto", GPU, "bf16"), ("fp32", GPU, "fp32"), ("auto", CPU, "fp32")]
)
def test_a_frozen_trunk_computes_in_bf16_on_a_gpu_that_can_unless_it_is_asked_not_to(asked, device, used):
    with fake_gpu():
        precision = on_device.chosen_precision(asked, device)
        with on_device.autocast(precision, device):
            rows = torch.ones(2, 3, device=device) @ torch.ones(3, 2, device=device)
    assert precision == used and rows.dtype == {"bf16": torch.bfloat16, "fp32": torch.float32}[used]
