"""Masks are what pycocotools makes of sound ones, and one sentence where it would read memory that nobody wrote."""

import numpy as np
import pycocotools.mask
import pytest

from transfer.annotations.masks import area_of, checked_mask, pixels_of

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
SIZE = (20, 10)  # width, height


def random_masks(count):
    generator = np.random.default_rng(0)
    for _ in range(count):
        height, width = map(int, generator.integers(1, 40, 2))
        yield np.asfortranarray((generator.random((height, width)) < generator.random()).astype(np.uint8))


def test_run_lengths_in_either_form_are_the_pixels_that_were_written():
    for mask in random_masks(300):
        size, coded = mask.shape[::-1], pycocotools.mask.encode(mask)
        flat = mask.ravel("F")
        ends = np.flatnonzero(np.diff(flat)) + 1
        runs = np.diff([0, *ends, flat.size]).tolist()
        runs = [0, *runs] if flat[0] else runs
        padded = [*runs[:1], *(part for run in runs[1:] for part in (run, 0, 0))]  # runs of no pixel between the others
        for counts in (coded["counts"].decode(), runs, padded):
            checked, left_out = checked_mask({"size": list(mask.shape), "counts": counts}, size)
            assert left_out == 0
            if not mask.any():
                assert checked is None
                continue
            assert (pixels_of(checked, size) == mask).all() and area_of(checked, size) == mask.sum()
            assert checked["counts"] == coded["counts"].decode()  # without the runs that mislead pycocotools' IoU


def test_text_that_is_damaged_anywhere_is_refused_or_another_whole_mask():
    generator = np.random.default_rng(1)
    for mask in random_masks(200):
        text = bytearray(pycocotools.mask.encode(mask)["counts"])
        text[int(generator.integers(len(text)))] = int(generator.integers(32, 127))
        damaged = text[: int(generator.integers(len(text) + 1))].decode("ascii")
        try:
            checked, _ = checked_mask({"size": list(mask.shape), "counts": damaged}, mask.shape[::-1])
        except ValueError:
            continue
        assert checked is None or set(np.unique(pycocotools.mask.decode(checked))) <= {0, 1}


def test_polygons_are_drawn_as_by_pycocotools_and_those_of_two_points_left_out():
    polygon = [2.5, 1, 15, 2, 12, 8.25, 3, 7]
    checked, left_out = checked_mask([polygon, [1, 1, 5, 5], [1, 1, 2, 2, 3]], SIZE)
    expected = pycocotools.mask.decode(pycocotools.mask.frPyObjects([polygon], SIZE[1], SIZE[0]))[:, :, 0]
    assert left_out == 2 and (pixels_of(checked, SIZE) == expected).all()
    assert checked_mask([[1, 1, 5, 5]], SIZE) == (None, 1) and checked_mask([], SIZE) == (None, 0)


@pytest.mark.parametrize(
    "shape",
    [
        [[0, 0, 1e9, 0, 0, 1e9]],
        [[0, 0, -1e14, 0, 5, 5]],
        [[0, 0, 40, 20] * 200_000],
        {"size": [10, 20], "counts": [2**62, -(2**62) + 200]},
        {"size": [10, 20], "counts": [10**14] * 3},
        {"size": [10, 20], "counts": "o" * 1_000_000},
        {"size": [10, 20], "counts": "0" * 1_000_000},
        {"size": [10**9, 10**9], "counts": [10**18]},
    ],
    ids=["far", "farther", "long", "overflow", "large", "endless", "empty runs", "size"],
)
def test_what_would_take_time_or_memory_without_bound_is_refused(shape):
    with pytest.raises(ValueError, match=r"^(reaches|has|states)"):
        checked_mask(shape, SIZE)
