"""transfer.features.pictures and extract: the test transform, reading past corrupt files, rows of a frozen trunk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

from helpers.official_views import OFFICIAL
from helpers.painted import paint
from pretrain.augment.multicrop import MultiCrop
from pretrain.data.sources import open_source
from pretrain.runtime.errors import UserError
from transfer.features import pictures as module
from transfer.features.extract import extract
from transfer.features.pictures import Shortened, evaluation_transform, resize_for

CPU = torch.device("cpu")


def test_resize_is_the_fields_256_for_224():
    assert [resize_for(size) for size in (224, 112, 64)] == [256, 128, 73]
    assert resize_for(64, 64) == 64


def test_images_are_torchvisions_resize_crop_and_normalisation(tmp_path):
    source = open_source(paint(tmp_path / "set", 2, size=(40, 30)))
    rows = extract(nn.Flatten(), source, 16, 18, 4, 0, CPU).rows
    oracle = torchvision.transforms.Compose(
        [
            torchvision.transforms.Resize(18),
            torchvision.transforms.CenterCrop(16),
            torchvision.transforms.ToTensor(),
            torchvision.transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    expected = torch.stack([oracle(Image.open(path)).flatten() for path in source.paths])
    assert torch.allclose(rows, expected, atol=1e-5)


@pytest.mark.parametrize("size", [(2, 901), (901, 2), (3, 1000), (1000, 3), (1, 400), (5, 641)])
def test_of_a_picture_that_is_cut_short_first_the_centre_is_what_torchvision_gives(monkeypatch, size):
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    picture = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    monkeypatch.setattr(module, "LARGEST", 100)
    assert max(Shortened(18)(picture).size) <= 4 * min(size) + 1
    got = np.asarray(evaluation_transform(16, 18)(picture), int)
    oracle = torchvision.transforms.Compose([torchvision.transforms.Resize(18), torchvision.transforms.CenterCrop(16)])
    assert np.abs(got - np.asarray(oracle(picture), int)).max() <= 4  # of noise: sizes are rounded to whole pixels


def test_pictures_of_usual_shapes_are_left_whole():
    for size in ((500, 375), (4000, 300), (30, 1000), (7680, 480), (1, 1)):
        picture = Image.new("RGB", size)
        assert Shortened(256)(picture) is picture


def peak():
    """The most memory that this process has held since it was last asked, in MiB."""
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    Path("/proc/self/clear_refs").write_text("5")
    return int(status["VmHWM"].split()[0]) / 1024


@pytest.mark.parametrize("size", [(1, 200_000), (200_000, 1), (3, 150_000)])
def test_extreme_shapes_take_no_more_memory_than_their_crops(size):
    picture = Image.new("RGB", size, "teal")
    peak()
    before = peak()
    assert evaluation_transform(224, 256)(picture).size == (224, 224)
    views = MultiCrop(**OFFICIAL)(np.array(picture), 0, 0, 0)
    assert views.crops[0].shape[-1] == OFFICIAL["size"] and peak() - before < 150


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (2, 1), (100, 0)])
def test_rows_depend_on_neither_batch_nor_workers(tmp_path, batch_size, workers):
    source = open_source(paint(tmp_path / "set", 3))
    torch.manual_seed(0)
    trunk = torchvision.models.resnet18(num_classes=5)
    alone = [extract(trunk, source, 16, 16, size, work, CPU) for size, work in ((4, 0), (batch_size, workers))]
    assert torch.allclose(alone[0].rows, alone[1].rows, atol=1e-5)
    assert alone[0].names == alone[1].names


def test_trunk_is_in_eval_mode_and_left_as_it_was(tmp_path):
    source = open_source(paint(tmp_path / "set", 3))
    trunk = torchvision.models.resnet18(num_classes=5).train()
    before = {name: tensor.clone() for name, tensor in trunk.state_dict().items()}
    extract(trunk, source, 16, 16, 4, 0, CPU)
    assert trunk.training
    assert all(torch.equal(before[name], tensor) for name, tensor in trunk.state_dict().items())


def test_corrupt_image_is_skipped_counted_and_named_once_and_labels_stay_aligned(tmp_path, capsys):
    root = paint(tmp_path / "set", 3)
    whole = extract(nn.Flatten(), open_source(root), 16, 16, 2, 0, CPU)
    broken = root / "n02_green" / "n02_green_1.png"
    broken.write_bytes(broken.read_bytes()[:60])
    features = extract(nn.Flatten(), open_source(root), 16, 16, 2, 0, CPU)
    keep = [index for index, name in enumerate(whole.names) if name != "n02_green/n02_green_1.png"]
    assert torch.equal(features.rows, whole.rows[keep])
    assert torch.equal(features.labels, whole.labels[keep])
    assert len(features.skipped) == 1
    assert capsys.readouterr().err.count("n02_green_1.png") == 1


def test_labels_follow_the_folders(tmp_path):
    features = extract(nn.Flatten(), open_source(paint(tmp_path / "set", 2)), 16, 16, 4, 0, CPU)
    brightest = features.rows.unflatten(1, (3, 16, 16)).mean((2, 3)).argmax(1)  # red, green, blue in folder order
    assert np.array_equal(brightest, features.labels)


def test_no_readable_image_is_told(tmp_path):
    root = paint(tmp_path / "set", 1)
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match="can be decoded"):
        extract(nn.Flatten(), open_source(root), 16, 16, 4, 0, CPU)
