"""Photometric operations give Pillow's pixels, through torchvision's functions on pictures, to stated tolerances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import ImageFilter
from torchvision.transforms import functional as official

from helpers.approximate import ApproximateDivision
from helpers.textured import texture
from pretrain.augment import color

PICTURES = [texture(96, 96, 1), texture(224, 224, 2), texture(61, 40, 3)]


def planes(picture):
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float()


def difference(got, expected):
    """(mean, max) absolute difference in grey levels."""
    apart = (got - planes(expected)).abs()
    return apart.mean().item(), apart.max().item()


# name: (ours, Pillow's, strengths, largest mean difference, largest difference)
OPERATIONS = {
    "gray": (lambda x, _: color.gray(x), lambda im, _: official.to_grayscale(im, 3), [0], 0, 0),
    "brightness": (color.brightness, official.adjust_brightness, [0, 0.6, 0.83, 1, 1.4], 0, 0),
    "contrast": (color.contrast, official.adjust_contrast, [0, 0.6, 0.83, 1, 1.4], 0.01, 1),
    "saturation": (color.saturation, official.adjust_saturation, [0, 0.6, 0.83, 1, 1.4], 0.01, 1),
    "hue": (
        lambda x, turn: color.hue(x, color.hue_steps(turn)),
        official.adjust_hue,
        [-0.5, -0.1, -0.003, 0, 0.05, 0.1, 0.5],
        0.03,
        6,
    ),
    "solarize": (lambda x, _: color.solarize(x), lambda im, _: official.solarize(im, 128), [0], 0, 0),
    "blur": (
        lambda x, sigma: color.blur(x, sigma),
        lambda im, sigma: im.filter(ImageFilter.GaussianBlur(sigma)),
        [0, 0.1, 0.4, 1.0, 1.41, 1.42, 2.0],
        0.8,  # on grain Pillow, rounding in each of six passes, stands still where one pass moves by a level
        12,  # where a patch meets the border, which the widest blurs see mirrored and Pillow repeated
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_gives_pillows_pixels(name):
    ours, theirs, strengths, mean, most = OPERATIONS[name]
    for picture in PICTURES:
        for strength in strengths:
            got = difference(ours(planes(picture), strength), theirs(picture, strength))
            assert got[0] <= mean and got[1] <= most, f"{strength}: {got}"


def test_the_blur_inside_the_border_is_pillows_to_four_levels():
    for sigma in (0.3, 0.8, 1.3, 1.7, 2.0):
        for picture in PICTURES:
            apart = color.blur(planes(picture), sigma) - planes(picture.filter(ImageFilter.GaussianBlur(sigma)))
            assert apart[:, 6:-6, 6:-6].abs().max() <= 4, sigma


@pytest.mark.parametrize("sigma", [0.0, 0.1, 1.0, 1.4142, 2.0, 2.4])
def test_the_blurs_taps_are_those_of_three_boxes_and_sum_to_one(sigma):
    weights = color.taps(sigma)
    assert weights[0] + 2 * sum(weights[1:]) == pytest.approx(1, abs=1e-12)
    variance = 2 * sum(weight * distance**2 for distance, weight in enumerate(weights))
    assert variance == pytest.approx(sigma**2, abs=1e-9)  # the border's width is chosen for this


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue", "blur"])
def test_a_batch_under_a_tensor_of_strengths_equals_each_image_under_its_own(name):
    operation = getattr(color, name)
    images = torch.stack([planes(texture(48, 48, seed)) for seed in range(3)])
    strengths = torch.tensor([-20.0, 3.0, 140.0] if name == "hue" else [0.7, 1.0, 1.3])
    batched = operation(images, strengths.view(3, 1, 1) if name == "hue" else strengths.view(3, 1, 1, 1))
    for got, image, strength in zip(batched, images, strengths.tolist(), strict=True):
        alone = operation(image.unsqueeze(0), strength)[0]
        apart = (got - alone).abs()
        assert apart.max() <= (1 if name != "hue" else 0) and apart.mean() < 0.02, strength


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_a_factor_of_one_changes_nothing(name):
    images = planes(PICTURES[0]).unsqueeze(0)
    assert torch.equal(getattr(color, name)(images, torch.ones(1, 1, 1, 1)), images)
    assert torch.equal(color.blur(images, torch.zeros(1, 1, 1, 1)), images)


@pytest.mark.parametrize("steps", [0.0, 7.0, -25.0])
def test_an_approximate_division_does_not_move_the_hue(steps):
    """Colours of every brightness and chroma, many of whose quotients are whole numbers."""
    levels = torch.tensor([0, 1, 2, 5, 17, 34, 51, 84, 85, 86, 102, 127, 128, 170, 204, 223, 254, 255.0])
    every = torch.cartesian_prod(*[levels] * 3).T.reshape(3, 54, -1)
    drawn = torch.randint(0, 256, (3, 300, 300), generator=torch.Generator().manual_seed(1)).float()
    for images in (every, drawn):
        expected = color.hue(images.clone(), steps)
        with ApproximateDivision() as division:
            got = color.hue(images.clone(), steps)
        assert division.divided == 2 and torch.equal(got, expected)
