"""CutMix of a batch of views, and the picture that shows it."""

from __future__ import annotations

import torch
from PIL import Image

from pretrain.augment.cutmix import cutmix
from pretrain.engine.monitor.pictures import draw_views


def numbered(views, n, side):
    """Images whose every pixel is their own number."""
    return torch.arange(float(n)).view(1, n, 1, 1, 1).expand(views, n, 3, side, side)


def test_shares_are_those_of_the_pixels_in_every_view():
    mixed, shares = cutmix(numbered(2, 5, 24), 1.0, seed=3)
    for view in range(2):
        for image in range(5):
            counted = torch.stack([(mixed[view, image, 0] == number).float().mean() for number in range(5)])
            torch.testing.assert_close(shares[view, image], counted)
    assert not torch.equal(shares[0], shares[1])  # a patch of its own in each view


def test_shares_of_beta_1_1_are_uniform():
    own = [cutmix(numbered(1, 2, 64), 1.0, seed=seed)[1][0, 0, 0].item() for seed in range(400)]
    # A patch that reaches over the border is cut, so shares of its own lie above the uniform ones, never below.
    below = [sum(share <= level for share in own) / len(own) for level in (0.25, 0.5, 0.75)]
    assert all(count <= level + 0.07 for count, level in zip(below, (0.25, 0.5, 0.75), strict=True))
    assert min(own) < 0.25 and max(own) > 0.95


def test_patches_are_a_function_of_the_seed_and_leave_the_global_generator_alone():
    before = torch.random.get_rng_state()
    first, again, other = (cutmix(numbered(2, 4, 16), 1.0, seed)[1] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_sheet_has_a_row_for_every_view_and_writes_the_shares(tmp_path):
    views = [torch.zeros(2, 3, 3, 32, 32, dtype=torch.uint8), torch.zeros(4, 3, 3, 16, 16, dtype=torch.uint8)]
    shares = torch.eye(3).expand(6, -1, -1) * 0.5
    plain, told = draw_views(tmp_path / "a.png", views), draw_views(tmp_path / "b.png", views, shares)
    with Image.open(plain) as first, Image.open(told) as second:
        assert first.size == second.size == (3 * 34 + 2, 6 * 34 + 2)
        assert first.getpixel((18, 80)) == (0, 0, 0) and first.getpixel((4, 80)) == (255, 255, 255)
        assert first.tobytes() != second.tobytes()
