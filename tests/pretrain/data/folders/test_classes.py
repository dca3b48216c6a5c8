"""The class of an image is sure, said or asked for; what is given instead of a folder is named for what it is."""

from __future__ import annotations

import pytest
from PIL import Image

from pretrain.data.sources import open_source
from pretrain.runtime.errors import UserError
from tools.prepare_data import main as prepare
from transfer.datasets.labelled import open_labelled, open_pair
from transfer.datasets.subsets import from_list


def make(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 6), (len(name) * 7 % 256, 90, 30)).save(path, "PNG")
    return root


PLACES = ("a/airfield/1.png", "a/airfield/2.png", "a/alcove/1.png", "b/bakery/1.png", "b/bar/1.png")
SURE = {
    "class folders": (("cat/1.png", "dog/1.png"), ("cat", "dog"), (0, 1)),
    "deeper images of a class": (("cat/1.png", "cat/more/2.png", "dog/1.png"), ("cat", "dog"), (0, 0, 1)),
    "one inner folder a class": (("n1/images/1.png", "n1/images/2.png", "n2/images/1.png"), ("n1", "n2"), (0, 0, 1)),
    "a flat folder": (("1.png", "2.png"), (), None),
}


@pytest.mark.parametrize("case", SURE)
def test_a_sure_layout_has_its_labels(tmp_path, case):
    files, classes, labels = SURE[case]
    source = open_source(make(tmp_path, *files), labelled=True)
    assert (source.classes, source.labels) == (classes, labels)


UNSURE = {
    "letters above classes": PLACES,
    "classes above sessions": ("cat/monday/1.png", "cat/friday/1.png", "dog/monday/1.png"),
    "one folder around the classes": ("images/cat/1.png", "images/dog/1.png"),
    "of different depth": ("cat/1.png", "wild/fox/1.png", "wild/elk/1.png"),
    "a class below a letter and below a class": ("a/bar/1.png", "a/hall/outdoor/1.png", "a/hall/indoor/1.png"),
}


@pytest.mark.parametrize("case", UNSURE)
def test_a_depth_that_is_not_sure_is_asked_for_where_labels_count_and_nowhere_else(tmp_path, case):
    make(tmp_path, *UNSURE[case])
    with pytest.raises(UserError, match=r"not sure which folder is the class: add data\.class_depth=1 for \d class"):
        open_source(tmp_path, labelled=True)
    source = open_source(tmp_path)
    assert len(source) == len(UNSURE[case]) and source.labels is None and "no classes" in source.about


def test_a_depth_that_is_said_names_the_classes(tmp_path):
    make(tmp_path, *PLACES)
    letters, places = (open_source(tmp_path, depth, labelled=True) for depth in (1, 2))
    assert (letters.classes, letters.labels) == (("a", "b"), (0, 0, 0, 1, 1))
    assert places.classes == ("a/airfield", "a/alcove", "b/bakery", "b/bar") and places.labels == (0, 0, 1, 2, 3)
    assert letters.paths == places.paths == open_source(tmp_path).paths


def test_the_question_says_what_each_answer_means(tmp_path):
    with pytest.raises(UserError) as told:
        open_source(make(tmp_path, *PLACES), labelled=True)
    assert "data.class_depth=1 for 2 classes such as a, or data.class_depth=2 for 4 classes such as a/airfield" in str(
        told.value
    )


@pytest.mark.parametrize(
    ("files", "depth", "told"),
    [
        (("cat/1.png", "dog/1.png"), 2, "cat holds images and lies only 1 deep"),
        (("1.png",), 1, "its images lie in no folders"),
        ((*PLACES, "c/1.png"), 2, "c holds images and lies only 1 deep"),
    ],
)
def test_a_depth_that_does_not_fit_is_told(tmp_path, files, depth, told):
    with pytest.raises(UserError, match=told):
        open_source(make(tmp_path, *files), depth)


@pytest.mark.parametrize("labelled", [False, True])
def test_loose_images_beside_class_folders_are_refused_naming_both(tmp_path, labelled):
    make(tmp_path, "cat/1.png", "dog/deep/1.png", "loose_1.png", "loose_2.png")
    with pytest.raises(UserError, match=r"mixes 2 loose images \(such as loose_1.png\) with 2 folders of images .*cat"):
        open_source(tmp_path, labelled=labelled)


def test_loose_images_beside_folders_without_images_are_a_flat_folder(tmp_path):
    make(tmp_path, "1.png", "2.png", "__MACOSX/._1.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "1.xml").touch()
    assert open_source(tmp_path).about == (
        f"{tmp_path}: 2 images, no classes; left out: 1 .xml, 1 hidden or system; 1 folder holds no image: labels"
    )


def test_evaluation_and_packing_ask_too_and_take_the_answer(tmp_path, capsys):
    for part in ("train", "val"):
        make(tmp_path / "set" / part, *PLACES)
    with pytest.raises(UserError, match=r"data\.class_depth=2 for 4 classes"):
        open_labelled(tmp_path / "set")
    data = open_labelled(tmp_path / "set", 2)
    assert data.train.labels == data.val.labels == (0, 0, 1, 2, 3)
    (tmp_path / "list.txt").write_text("bakery/1.png\n")
    assert [path.parent.name for path in from_list(data.train, tmp_path / "list.txt").source.paths] == ["bakery"]
    with pytest.raises(UserError, match="--class-depth 2 for 4 classes"):
        prepare(["pack", str(tmp_path / "set" / "train"), str(tmp_path / "packed"), "--workers", "1"])
    for _ in range(2):  # the second time finds its own work
        prepare(
            ["pack", str(tmp_path / "set" / "train"), str(tmp_path / "packed"), "--workers", "1", "--class-depth", "2"]
        )
    assert "left as they are" in capsys.readouterr().out
    packed, val = open_pair(tmp_path / "packed", tmp_path / "set" / "val", 2)
    assert packed.classes == val.classes and packed.labels == val.labels
    assert packed.about == f"{tmp_path / 'packed'}: 5 images in 4 classes, packed"


def test_a_class_whose_training_folder_is_empty_is_named(tmp_path):
    make(tmp_path / "train", "cat/1.png", "dog/1.png")
    make(tmp_path / "val", "cat/1.png", "emu/1.png")
    (tmp_path / "train" / "emu").mkdir()
    with pytest.raises(UserError, match="such as 'emu': .*the folder is there in train, and holds no image"):
        open_labelled(tmp_path)


FILES = {
    "data.h5": "arrays",
    "set.tar.gz": "an archive.: unpack it",
    "set.7Z": "an archive.: unpack it",
    "train.tfrecord": "records",
    "shard.arrow": "arrays",
    "labels.json": "a list",
    "cat.jpg": "a single picture",
    "cat.HEIC": "give a folder of images",
    "index.npz": "part of a packed set.: give its folder",
    "noending": "give a folder of images",
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_for_a_folder_is_called_one_with_what_can_be_done(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(UserError, match=rf"{name} is a file, not a folder.*{FILES[name]}"):
        open_source(tmp_path / name)


def test_every_part_of_an_evaluation_that_is_a_file_is_called_one(tmp_path):
    (tmp_path / "all.7z").touch()
    with pytest.raises(UserError, match="all.7z is a file, not a folder .an archive"):
        open_labelled(tmp_path / "all.7z")
    make(tmp_path / "set" / "train", "cat/1.png", "dog/1.png")
    (tmp_path / "set" / "val").touch()
    with pytest.raises(UserError, match="val is a file, not a folder"):
        open_labelled(tmp_path / "set")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nowhere", "nowhere does not exist: give a folder of images"),
        ("link", r"link does not exist .*link is a link to /not/there, which is not there"),
        ("file/below", r"below does not exist .*file is a file"),
    ],
)
def test_what_is_not_there_is_told_with_its_reason(tmp_path, name, told):
    (tmp_path / "link").symlink_to("/not/there")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=told):
        open_source(tmp_path / name)


@pytest.mark.parametrize(
    ("ending", "told"), [("tar", r"give its \.tar files themselves, .*/\*\.tar"), ("tgz", "unpack its archives")]
)
def test_a_folder_of_archives_is_told_what_can_be_done(tmp_path, ending, told):
    for number in range(3):
        (tmp_path / f"{number}.{ending}").touch()
    with pytest.raises(UserError, match=rf"holds no image .*left out: 3 \.{ending}: {told}"):
        open_source(tmp_path)
