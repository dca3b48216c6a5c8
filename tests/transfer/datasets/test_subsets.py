"""transfer.datasets.subsets: file lists of labelled images, and balanced shares."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from pretrain.data.sources import ImageSource
from pretrain.runtime.errors import UserError
from transfer.datasets.subsets import SIMCLR, check_classes, from_fraction, from_list, list_name

ROOT = Path("set")
CLASSES = ("n01440764", "n02102040", "other")


def source_of(names):
    """A source of CLASS/NAME paths; nothing is read from disk."""
    paths = tuple(ROOT / name for name in sorted(names))
    return ImageSource(ROOT, paths, tuple(CLASSES.index(path.parent.name) for path in paths), CLASSES)


@pytest.fixture
def source():
    return source_of(
        ["n01440764/n01440764_1.webp", "n01440764/n01440764_2.png", "n02102040/n02102040_1.JPEG", "other/x_1.webp"]
    )


def listed(tmp_path, text):
    path = tmp_path / "list.txt"
    path.write_text(text)
    return path


def test_names_match_by_stem_whatever_the_extension_and_the_absent_are_counted(source, tmp_path):
    text = "n02102040_1.JPEG\nn01440764_2.JPEG\n\nn01440764_9.JPEG\nn09999999_1.JPEG\nn01440764_2.JPEG\n"
    subset = from_list(source, listed(tmp_path, text))
    assert [path.name for path in subset.source.paths] == ["n01440764_2.png", "n02102040_1.JPEG"]
    assert subset.source.labels == (0, 1)
    assert subset.source.classes == CLASSES  # a class without a listed image keeps its index
    assert subset.counts == {"listed": 4, "absent": 2, "absent_of_known_classes": 1}


def test_none_found_is_told(source, tmp_path):
    with pytest.raises(UserError, match=r"none of the 1 names in .*list\.txt .*n7_1\.JPEG"):
        from_list(source, listed(tmp_path, "n7_1.JPEG\n"))


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_empty_list_is_told(source, tmp_path, content):
    with pytest.raises(UserError, match="names no image"):
        from_list(source, listed(tmp_path, content))


def test_missing_or_binary_list_is_told(source, tmp_path):
    binary = tmp_path / "image.bin"
    binary.write_bytes(b"\xff\xfe\x00\x80")
    for path in (tmp_path / "absent.txt", binary):
        with pytest.raises(UserError, match="cannot be read as a list"):
            from_list(source, path)


def test_a_stem_in_two_classes_is_told_apart_by_folder_or_prefix(tmp_path):
    source = source_of(["n01440764/1.png", "n02102040/1.png", "n01440764/other_3.png", "other/other_3.png"])
    with pytest.raises(UserError, match="CLASS/NAME"):
        from_list(source, listed(tmp_path, "1.png\n"))
    subset = from_list(source, listed(tmp_path, "n02102040/1.png\nother_3.png\n"))
    assert [path.relative_to(ROOT).as_posix() for path in subset.source.paths] == [
        "n02102040/1.png",
        "other/other_3.png",
    ]


def uneven():
    sizes = {"n01440764": 300, "n02102040": 100, "other": 2}
    return source_of([f"{name}/{number:03}.png" for name, size in sizes.items() for number in range(size)])


def test_fraction_takes_the_same_number_of_every_class():
    subset = from_fraction(uneven(), 0.1, seed=0)
    assert Counter(subset.source.labels) == {0: 13, 1: 13, 2: 2}  # 10 % of the mean size 134; the small class gives all
    assert subset.counts == {"per_class": 13}
    assert len(set(subset.source.paths)) == len(subset.source)


def test_smaller_fraction_of_a_seed_lies_in_the_larger_and_seeds_differ():
    one, ten, other = (from_fraction(uneven(), *drawn) for drawn in ((0.01, 3), (0.1, 3), (0.1, 4)))
    assert set(one.source.paths) < set(ten.source.paths)
    assert set(ten.source.paths) != set(other.source.paths)
    assert ten == from_fraction(uneven(), 0.1, 3)


def test_whole_fraction_is_the_source_and_impossible_ones_are_told():
    assert from_fraction(uneven(), 1.0, 0).source == uneven()
    for fraction in (0.0, -0.1, 1.5):
        with pytest.raises(UserError, match="above 0"):
            from_fraction(uneven(), fraction, 0)


def test_absent_names_of_known_classes_stop_above_the_share_that_is_allowed(source, tmp_path):
    path = listed(tmp_path, "n01440764_1.JPEG\nn01440764_2.JPEG\nn02102040_1.JPEG\nn02102040_8.JPEG\nn9_1.JPEG\n")
    assert from_list(source, path, 0.25).counts["absent_of_known_classes"] == 1
    with pytest.raises(UserError, match=r"1 of the 4 names .*, such as n02102040_8\.JPEG"):
        from_list(source, path, 0.24)


def test_a_class_without_a_label_is_told(source, tmp_path):
    with pytest.raises(UserError, match="2 of 3 classes have no labelled image, such as n02102040, other"):
        check_classes(from_list(source, listed(tmp_path, "n01440764_1.JPEG\n")).source)


def test_a_list_under_simclrs_name_must_be_simclrs(tmp_path):
    own = listed(tmp_path, "n1_1.JPEG\n")
    assert list_name(own) == "list.txt"
    for name in SIMCLR:
        own.rename(own := own.with_name(name))
        with pytest.raises(UserError, match=f"{name} is not SimCLR's"):
            list_name(own)
