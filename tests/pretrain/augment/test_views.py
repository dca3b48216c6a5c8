"""Crops are torchvision's in distribution and Pillow's in pixels; a view follows from its key and its numbers alone."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import functional as official

from helpers.approximate import ApproximateDivision
from helpers.official_views import OFFICIAL
from helpers.repository import ROOT
from helpers.textured import texture
from pretrain.augment import multicrop, photometry
from pretrain.augment.multicrop import Batch, MultiCrop, Stream
from pretrain.data.loader import collate
from pretrain.models import pixels
from tools.benchmarks.reference.views import kolmogorov_smirnov, pixel_agreement, window_agreement
from tools.benchmarks.reference.views import photometry as official_photometry

PICTURE = texture(200, 150, 0)
PIXELS = np.array(PICTURE)
BYOL = {  # Table 6 of its paper: what its two views have for their own, and in common
    "first": {"blur_probability": 1.0},
    "second": {"blur_probability": 0.1, "solarize_probability": 0.2},
    "saturation": 0.2,
}


@pytest.mark.parametrize("scale", [(0.2, 1.0), (0.05, 0.4)], ids=["global", "local"])
@pytest.mark.parametrize("shape", [(375, 500), (60, 400)], ids=["ordinary", "wide"])
def test_windows_are_distributed_as_torchvisions(scale, shape):
    torch.manual_seed(0)
    for name, p in window_agreement(shape, scale, 3000).items():
        assert p > 0.01, name


def test_photometry_is_distributed_as_torchvisions():
    crop = MultiCrop(**OFFICIAL)
    numbers = np.array([crop.common.draw(Stream(1, 0, index, 0)) for index in range(4000)])
    torch.manual_seed(0)
    theirs = [v1.ColorJitter.get_params((0.6, 1.4), (0.6, 1.4), (0.6, 1.4), (-0.1, 0.1)) for _ in range(4000)]
    jittered = numbers[numbers[:, multicrop.BRIGHTNESS] != 1]
    for column in range(4):
        assert kolmogorov_smirnov(jittered[:, column], np.array([one[column + 1] for one in theirs])) > 0.01, column
    first = np.bincount(jittered[:, multicrop.ORDER][:, 0].astype(int), minlength=4) / len(jittered)
    assert np.abs(first - 0.25).max() < 0.03
    blurred = numbers[numbers[:, multicrop.SIGMA] > 0, multicrop.SIGMA]
    assert kolmogorov_smirnov(blurred, np.random.default_rng(0).uniform(0.1, 2, 4000)) > 0.01
    shares = len(jittered), numbers[:, multicrop.GRAY].sum(), len(blurred), numbers[:, multicrop.FLIP].sum()
    for share, expected in zip(shares, (0.8, 0.2, 0.5, 0.5), strict=True):
        assert abs(share / 4000 - expected) < 4 * math.sqrt(expected * (1 - expected) / 4000)


def test_the_default_draws_are_those_of_the_first_release():
    """Written down before views could differ: the numbers of a run that goes on must not change."""
    draw = MultiCrop(**OFFICIAL).common.draw
    numbers = np.array([draw(Stream(1, 2, i, view))[:11] for i in range(50) for view in range(3)], np.float32)
    assert hashlib.blake2b(numbers.tobytes(), digest_size=16).hexdigest() == "67f998a70c6af5555b53e6a36bca0203"


def test_each_view_draws_with_what_it_has_for_its_own_and_else_what_all_have():
    crop = MultiCrop(**OFFICIAL | BYOL, local_count=1, local_size=32, photometry="device")
    drawn = [[crop.photometry_of(view).draw(Stream(5, 0, index, view)) for view in range(3)] for index in range(2000)]
    found = np.array(drawn)
    for view, (blurred, solarized) in enumerate([(1.0, 0.0), (0.1, 0.2), (0.5, 0.0)]):
        for share, column in ((blurred, multicrop.SIGMA), (solarized, multicrop.SOLARIZE)):
            apart = abs((found[:, view, column] > 0).mean() - share)
            assert apart <= 4 * math.sqrt(share * (1 - share) / 2000), (view, column)
        assert 0.78 < found[:, view, multicrop.SATURATION].min() < 0.82


def test_views_of_their_own_are_pillows_and_alike_in_worker_and_on_the_device():
    options = OFFICIAL | BYOL | {"solarize_probability": 0.5, "global_count": 3}
    found = np.array([view for index in range(15) for view in pixel_agreement(PIXELS, options, index)])
    assert np.quantile(found[:, 1], 0.9) <= 24 and found[:, 0].mean() < 0.5  # a level beside 128 may end up inverted
    plain, finished = (MultiCrop(**options, photometry=where) for where in ("device", "worker"))
    for index in range(6):
        given, got = plain(PIXELS, 0, 0, index), finished(PIXELS, 0, 0, index)
        (batched,) = photometry.pictures(Batch(*given, []))
        assert batched.shape == (3, 3, 64, 64)
        assert (batched.int() - got.crops[0].int()).abs().float().mean() < 0.3


def test_a_third_global_view_leaves_the_first_two_as_they_were():
    two, three = (MultiCrop(**OFFICIAL | {"global_count": count})(PIXELS, 0, 0, 0).crops[0] for count in (2, 3))
    assert torch.equal(two, three[:2]) and not torch.equal(three[2], three[1])


@pytest.mark.parametrize("size", [32, 96, 224])
def test_a_crop_is_pillows_to_one_grey_level(size):
    picture = torch.from_numpy(PIXELS).permute(2, 0, 1).unsqueeze(0)
    for index in range(10):
        window = multicrop.random_window(150, 200, (0.05, 1.0), Stream(0, 0, index, 0))
        got = multicrop.crop(picture, window, size)[0].permute(1, 2, 0).numpy().astype(int)
        expected = np.array(official.resized_crop(PICTURE, *window, (size, size))).astype(int)
        assert np.abs(got - expected).max() <= 1 and np.abs(got - expected).mean() < 0.3, window


def test_whole_views_are_the_official_pipelines_for_the_same_numbers():
    """Mean differences stay below a level; single pixels move further, where the hue of a near-gray turns."""
    found = np.array([view for index in range(40) for view in pixel_agreement(PIXELS, OFFICIAL, index)])
    assert found[:, 1].max() <= 24 and found[:, 0].max() < 1.0 and found[:, 0].mean() < 0.35


def test_flip_and_gray_alone_are_exact():
    always = OFFICIAL | {"jitter_probability": 0, "blur_probability": 0, "gray_probability": 1, "flip_probability": 1}
    plain, finished = MultiCrop(**always, photometry="device"), MultiCrop(**always, photometry="worker")
    given, got = plain(PIXELS, 0, 0, 0), finished(PIXELS, 0, 0, 0)
    for view, numbers, ours in zip(given.crops[0], given.draws[0].tolist(), got.crops[0], strict=True):
        assert torch.equal(ours, official_photometry(view, numbers))


def test_the_device_gives_the_workers_pixels_for_the_same_numbers():
    local = {"local_count": 6, "local_size": 32}
    plain, finished = (MultiCrop(**OFFICIAL, **local, photometry=where) for where in ("device", "worker"))
    for index in range(12):
        given, got = plain(PIXELS, 0, 0, index), finished(PIXELS, 0, 0, index)
        batched = photometry.pictures(Batch(*given, []))
        for ours, expected in zip(batched, got.crops, strict=True):
            apart = (ours.int() - expected.int()).abs().float()
            assert apart.max() <= 1 and apart.mean() < 0.1


def test_an_approximate_division_moves_no_pixel_of_the_device_by_more_than_a_level():
    crop = MultiCrop(**OFFICIAL, photometry="device")
    for index in range(6):
        given = Batch(*crop(PIXELS, 0, 0, index), [])
        (expected,) = photometry.pictures(given)
        with ApproximateDivision():
            (got,) = photometry.pictures(given)
        assert (got.int() - expected.int()).abs().max() <= 1.1


def test_finish_normalises_alike_wherever_photometry_was_applied():
    device = torch.device("cpu")
    for where in ("device", "worker"):
        crop = MultiCrop(**OFFICIAL, local_count=3, local_size=32, photometry=where)
        batch = collate([(crop(PIXELS, 0, 0, index), [], -1) for index in range(2)])
        finished = photometry.finish(batch, device)
        assert [tuple(size.shape) for size in finished] == [(2, 2, 3, 64, 64), (3, 2, 3, 32, 32)]
        for ours, pictures in zip(finished, photometry.pictures(batch), strict=True):
            expected = official.normalize(pictures.float() / 255, *pixels.IMAGENET)
            torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("where", ["worker", "device"])
def test_a_view_does_not_depend_on_how_many_others_there_are(where):
    few, many = (MultiCrop(**OFFICIAL, local_count=count, photometry=where)(PIXELS, 3, 1, 4) for count in (2, 5))
    assert torch.equal(few.crops[0], many.crops[0])
    apart = (few.crops[1].int() - many.crops[1][:2].int()).abs()
    assert apart.max() == 0
    assert not torch.equal(many.crops[1][0], many.crops[1][1])
    if where == "device":
        assert torch.equal(few.draws[1], many.draws[1][:2])


@pytest.mark.parametrize("changed", [(1, 0, 0), (0, 1, 0), (0, 0, 1)], ids=["seed", "epoch", "index"])
def test_every_number_of_the_key_changes_the_views(changed):
    crop = MultiCrop(**OFFICIAL)
    assert not torch.equal(crop(PIXELS, 0, 0, 0).crops[0], crop(PIXELS, *changed).crops[0])


def test_streams_are_the_same_in_every_process():
    told = (
        "from pretrain.augment.multicrop import Stream; s = Stream(7, 0, 3, 1); print([s.random() for _ in range(20)])"
    )
    printed = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    stream = Stream(7, 0, 3, 1)
    assert eval(printed) == [stream.random() for _ in range(20)]
    assert len(set(eval(printed))) == 20


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 300), (300, 1), (2, 3)])
def test_the_smallest_pictures_have_views(width, height):
    crops = MultiCrop(**OFFICIAL, local_count=2, local_size=32)(
        np.full((height, width, 3), 90, np.uint8), 0, 0, 0
    ).crops
    assert [tuple(crop.shape) for crop in crops] == [(2, 3, 64, 64), (2, 3, 32, 32)]


@pytest.mark.gpu
def test_compiled_photometry_on_a_gpu_gives_the_workers_pixels_and_pins(capsys):
    given = MultiCrop(**OFFICIAL, photometry="device")(PIXELS, 0, 0, 0)
    batch = Batch(*(tuple(one.unsqueeze(1).pin_memory() for one in part) for part in given), [])
    (got,) = photometry.finish(batch, torch.device("cuda"))
    (expected,) = photometry.finish(batch, torch.device("cpu"))
    assert (got.cpu() - expected).abs().max() < 1.1 / 255 / min(pixels.IMAGENET.std)
    assert "uncompiled" not in capsys.readouterr().err


def test_a_picture_of_one_colour_stays_so_without_jitter():
    plain = OFFICIAL | {"jitter_probability": 0, "gray_probability": 0}
    pixels = np.array(Image.new("RGB", (80, 60), (10, 200, 30)))
    crops = MultiCrop(**plain)(pixels, 0, 0, 0).crops[0]
    assert torch.equal(crops, torch.tensor([10, 200, 30], dtype=torch.uint8).view(1, 3, 1, 1).expand_as(crops))
