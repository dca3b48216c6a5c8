"""Public data sets: read as torchvision reads them, divided as published, and refused where they are not the set."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from torchvision import datasets

from helpers.public_layouts import LAYOUTS, picture, text, voc2007
from pretrain.runtime.errors import UserError
from transfer.datasets.benchmarks import benchmarks, find_benchmark
from transfer.datasets.benchmarks.voc2007 import CLASSES
from transfer.datasets.opening import open_benchmark

# torchvision's own reader of a split, by our name of it
TORCHVISION = {
    "food101": lambda root, split: datasets.Food101(root, split),
    "cifar10": lambda root, split: datasets.CIFAR10(root, split == "train"),
    "cifar100": lambda root, split: datasets.CIFAR100(root, split == "train"),
    "stanford_cars": lambda root, split: datasets.StanfordCars(root, split),
    "fgvc_aircraft": lambda root, split: datasets.FGVCAircraft(root, split),
    "dtd": lambda root, split: datasets.DTD(root, split),
    "oxford_pets": lambda root, split: datasets.OxfordIIITPet(root, split.replace("train", "trainval")),
    "flowers102": lambda root, split: datasets.Flowers102(root, split),
}


def small(name, root, patch):
    """A tiny copy below `root`, and the benchmark with the counts that this copy has."""
    LAYOUTS[name](root, patch)
    known = find_benchmark(name)
    splits = {split: known.read(root, split) for split in known.counts}
    counts = {split: len(one.names) for split, one in splits.items()}
    return replace(known, counts=counts, classes=len(splits["test"].classes))


def test_each_data_set_has_a_layout_here():
    assert set(LAYOUTS) == set(benchmarks())


@pytest.mark.parametrize("name", TORCHVISION)
def test_images_and_labels_are_torchvisions(name, tmp_path, monkeypatch):
    data = open_benchmark(small(name, tmp_path, monkeypatch), tmp_path)
    found = {
        one.key(at): (one.read_pixels(at), one.label(at)) for one in (data.train, data.val) for at in range(len(one))
    }
    parts = {split: TORCHVISION[name](tmp_path, split) for split in benchmarks()[name].counts}
    expected = [(split, np.asarray(image), label) for split, part in parts.items() for image, label in part]
    assert len(found) == len(expected)
    for split, pixels, label in expected:
        matches = [key for key, (mine, number) in found.items() if np.array_equal(mine, pixels) and number == label]
        assert matches, (split, label)
    assert len(data.val) == len(parts["test"])
    titles = [name.replace("_", " ") for name in data.train.classes]
    assert titles == [name.replace("_", " ") for name in parts["test"].classes]


@pytest.mark.parametrize("name", ["dtd", "fgvc_aircraft", "flowers102", "folders", "voc2007"])
def test_a_published_validation_split_is_what_settings_are_chosen_on(name, tmp_path, monkeypatch):
    benchmark = small(name, tmp_path, monkeypatch)
    data = open_benchmark(benchmark, tmp_path)
    listed = benchmark.read(tmp_path, "val")
    assert sorted(data.train.key(at) for at in data.chosen_on) == sorted(listed.names)
    assert len(data.train) == benchmark.counts["train"] + benchmark.counts["val"]
    assert not data.held_out


def test_sun397_is_its_first_partition(tmp_path, monkeypatch):
    data = open_benchmark(small("sun397", tmp_path, monkeypatch), tmp_path)
    whole = datasets.SUN397(tmp_path)
    label_of = {str(path): label for path, label in zip(whole._image_files, whole._labels, strict=True)}
    for source, lists in ((data.train, "Training"), (data.val, "Testing")):
        names = (tmp_path / f"SUN397/Partitions/{lists}_01.txt").read_text().split()
        assert sorted(source.key(at) for at in range(len(source))) == sorted(name[1:] for name in names)
        assert all(label_of[str(path)] == source.label(at) for at, path in enumerate(source.paths))
    assert data.held_out == 0.2 and data.chosen_on is None


def test_caltech101_trains_on_thirty_of_each_class_with_the_background(tmp_path, monkeypatch):
    data = open_benchmark(small("caltech101", tmp_path, monkeypatch), tmp_path)
    assert data.train.classes == ("BACKGROUND_Google", "one")
    assert Counter(data.train.labels) == {0: 30, 1: 30} and Counter(data.val.labels) == {0: 2, 1: 2}
    assert set(data.train.paths).isdisjoint(data.val.paths)


@pytest.mark.parametrize("folder", ["VOCdevkit/VOC2007", "VOC2007", "."])
def test_voc2007_judges_what_its_annotations_show(folder, tmp_path):
    """The objects of torchvision's VOCDetection: shown, only difficult ones, or none."""
    voc2007(tmp_path, None, folder)
    if folder != "VOCdevkit/VOC2007":
        (tmp_path / "devkit/VOCdevkit").mkdir(parents=True)
        (tmp_path / "devkit/VOCdevkit/VOC2007").symlink_to(tmp_path / folder)
    root = tmp_path if folder == "VOCdevkit/VOC2007" else tmp_path / "devkit"
    benchmark = replace(find_benchmark("voc2007"), counts=dict.fromkeys(("train", "val", "test"), 2))
    data = open_benchmark(benchmark, tmp_path)
    test = datasets.VOCDetection(root, "2007", "test")
    for place, (_, annotation) in enumerate(test):
        objects = annotation["annotation"]["object"]
        for column, name in enumerate(CLASSES):
            hard = [one["difficult"] == "1" for one in objects if one["name"] == name]
            assert data.marks[1][place, column] == (0 if not hard else -1 if all(hard) else 1)
    assert data.marks[0].shape == (4, 20) and list(data.train.labels) == [0, 1, 2, 3]


def test_the_published_counts_are_those_of_simclr_and_byol():
    """Train and validation together, and test: SimCLR, appendix B.8; BYOL, appendix D, with the two apart."""
    published = {
        "food101": (75_750, 25_250),
        "cifar10": (50_000, 10_000),
        "cifar100": (50_000, 10_000),
        "sun397": (19_850, 19_850),
        "stanford_cars": (8_144, 8_041),
        "fgvc_aircraft": (6_667, 3_333),
        "voc2007": (5_011, 4_952),
        "dtd": (3_760, 1_880),
        "oxford_pets": (3_680, 3_669),
        "caltech101": (3_060, 6_084),
        "flowers102": (2_040, 6_149),
    }
    counts = {name: one.counts for name, one in benchmarks().items() if name != "folders"}
    assert {name: (sum(one.values()) - one["test"], one["test"]) for name, one in counts.items()} == published


def spoil_count(root):
    path = root / "dtd/dtd/labels/train1.txt"
    text(path, path.read_text().split()[1:])


def spoil_image(root):
    next((root / "dtd/dtd/images/one").glob("*.jpg")).unlink()


def spoil_list(root):
    (root / "dtd/dtd/labels/val1.txt").unlink()


def spoil_class(root):
    path = root / "dtd/dtd/labels/test1.txt"
    text(path, [name.replace("one", "six") for name in path.read_text().split()])
    for name in path.read_text().split():
        picture(root / "dtd/dtd/images" / name, 3)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (spoil_count, r"train lists 3 images instead of 4 \(most classes have \d, but not (one|two) \(\d\)\)"),
        (spoil_image, r"1 images of \w+ are missing, first images/one/one_\d+.jpg"),
        (spoil_list, "its list .*val1.txt is missing"),
        (spoil_class, "different classes, first one, six"),
    ],
)
def test_a_folder_of_another_version_is_refused(spoil, told, tmp_path, monkeypatch):
    benchmark = small("dtd", tmp_path, monkeypatch)
    spoil(tmp_path)
    with pytest.raises(UserError, match=told):
        open_benchmark(benchmark, tmp_path)


def test_a_label_of_no_class_is_refused(tmp_path, monkeypatch):
    benchmark = small("fgvc_aircraft", tmp_path, monkeypatch)
    path = tmp_path / "fgvc-aircraft-2013b/data/images_variant_train.txt"
    path.write_text(path.read_text().replace("two half", "three"))
    with pytest.raises(UserError, match="name the class 'three', which is none of its classes"):
        open_benchmark(benchmark, tmp_path)
    cars = small("stanford_cars", tmp_path, monkeypatch)
    listed = cars.read(tmp_path, "train")
    wrong = replace(cars, read=lambda root, split: replace(listed, labels=[0, 1, 2, 0]))
    with pytest.raises(UserError, match="train has 1 images with a label of no class, first cars_train/00002.jpg"):
        open_benchmark(wrong, tmp_path)


def test_absent_sets_and_changed_batches_are_told_apart(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=re.escape(f"{tmp_path}/food-101 does not exist")):
        open_benchmark(find_benchmark("food101"), tmp_path)
    benchmark = small("cifar10", tmp_path, monkeypatch)
    with open(tmp_path / "cifar-10-batches-py/data_batch_3", "ab") as file:
        file.write(b"more")
    with pytest.raises(UserError, match="is missing, or is not the published file"):
        open_benchmark(benchmark, tmp_path)
    with pytest.raises(UserError, match="the data set 'imagenet' is not known: choose among caltech101"):
        find_benchmark("imagenet")
