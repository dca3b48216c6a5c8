"""Archives are verified, unpacked once, resumed, and never leave the folder; what is missing is named."""

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from helpers import tool_process
from helpers.archive_files import a_tar, a_zip, an_archive
from helpers.repository import ROOT
from pretrain.runtime.errors import UserError
from tools.datasets import ade20k, all_datasets, cityscapes, coco, imagenet, lvis
from tools.datasets.unpacking import archives, completeness
from tools.datasets.unpacking.archives import Archive
from tools.datasets.unpacking.benchmark import prepare_benchmark


def a_picture(side=8, kind="JPEG"):
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (90, 20, 200)).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("make", [a_tar, a_zip], ids=["tar", "zip"])
def test_an_archive_is_unpacked_whole_and_only_once(tmp_path, make):
    files = {"top/a.txt": b"one", "top/below/b.txt": b"two" * 1000, "other/c.txt": b"three"}
    path = make(tmp_path / "set.arc", files)
    chosen = an_archive(path, lambda name: name.replace("top/", "here/") if name.startswith("top/") else None)
    root = tmp_path / "root"
    archives.unpack(chosen, tmp_path, root)
    assert (root / "here/a.txt").read_bytes() == b"one" and (root / "here/below/b.txt").read_bytes() == b"two" * 1000
    assert not (root / "other").exists() and not list(root.rglob("*.part"))
    (root / "here/a.txt").unlink()
    archives.unpack(chosen, tmp_path, root)  # unpacked before: not read again
    assert not (root / "here/a.txt").exists()


@pytest.mark.parametrize("make", [a_tar, a_zip], ids=["tar", "zip"])
def test_unpacking_goes_on_where_it_stopped(tmp_path, make):
    path = make(tmp_path / "set.arc", {"a.txt": b"one", "b.txt": b"twenty", "c.txt": b"three"})
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.txt").write_bytes(b"ONE")  # of full size, so left alone
    (root / "b.txt").write_bytes(b"tw")  # cut short
    archives.unpack(an_archive(path), tmp_path, root)
    assert [(root / name).read_bytes() for name in ("a.txt", "b.txt", "c.txt")] == [b"ONE", b"twenty", b"three"]


def test_a_damaged_or_wrong_archive_is_told_in_one_sentence(tmp_path):
    path = a_tar(tmp_path / "set.tar", {"a.txt": os.urandom(30_000)})
    chosen = an_archive(path)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(UserError, match="has the md5 .*, not .* as published"):
        archives.unpack(chosen, tmp_path, tmp_path / "root")
    with pytest.raises(UserError, match="is damaged or cut short"):
        archives.unpack(chosen, tmp_path, tmp_path / "root", verify=False)
    path.write_bytes(b"<html>log in</html>")
    with pytest.raises(UserError, match="is neither a tar nor a zip; it begins with '<html>log in"):
        archives.unpack(chosen, tmp_path, tmp_path / "root", verify=False)
    other = a_tar(tmp_path / "other.tar", {"a.txt": b"x"})
    with pytest.raises(UserError, match="holds nothing of what is expected"):
        archives.unpack(an_archive(other, lambda name: None), tmp_path, tmp_path / "root")


def test_what_is_missing_or_cut_short_is_named(tmp_path):
    (tmp_path / "whole.jpg").write_bytes(a_picture(64))
    (tmp_path / "cut.jpg").write_bytes(a_picture(64)[:-40])
    (tmp_path / "whole.png").write_bytes(a_picture(64, "PNG"))
    (tmp_path / "empty.xml").touch()
    names = ["whole.jpg", "cut.jpg", "whole.png", "empty.xml", "gone.jpg"]
    missing, short = completeness.missing_or_short(tmp_path, names, "files")
    assert missing.endswith("1 of 5 files are missing: gone.jpg")
    assert short.endswith("2 of 5 files are cut short: cut.jpg, empty.xml")


def test_voc_is_unpacked_where_detectron2_looks_and_its_gaps_are_told(tmp_path):
    """A tiny archive of the official name and inner layout: unpacked, then counted against the publisher's numbers."""
    inner = "VOCdevkit/VOC2007"
    files = {f"{inner}/ImageSets/Main/trainval.txt": b"000005\n000007\n", f"{inner}/JPEGImages/000005.jpg": a_picture()}
    a_tar(tmp_path / "VOCtrainval_06-Nov-2007.tar", files)
    done = run("voc", tmp_path / "data", "--archives", tmp_path)
    assert done.returncode == 2 and "as published" in done.stderr  # not the official archive
    done = run("voc", tmp_path / "data", "--archives", tmp_path, "--unverified")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert (tmp_path / "data" / "VOC2007" / "JPEGImages" / "000005.jpg").read_bytes() == a_picture()
    for told in (
        "lists: 2 instead of 5,011",
        "1 of 2 images are missing: 000007.jpg",
        "VOC2012",
        "VOCtest_06-Nov-2007",
    ):
        assert told in done.stderr


def run(*arguments):
    return tool_process.run([sys.executable, ROOT / "tools" / "prepare_data.py", *arguments])


def test_coco_and_lvis_name_the_images_that_are_missing(tmp_path):
    images = [{"id": 1, "file_name": "1.jpg", "coco_url": "http://images.cocodataset.org/train2017/1.jpg"}]
    content = json.dumps({"images": [*images, {**images[0], "id": 2, "file_name": "2.jpg"}]})
    a_zip(tmp_path / "annotations_trainval2017.zip", {"annotations/instances_val2017.json": content.encode()})
    a_zip(tmp_path / "val2017.zip", {"val2017/1.jpg": a_picture()})
    a_zip(tmp_path / "lvis_v1_train.json.zip", {"lvis_v1_train.json": content.encode()})
    for benchmark, told in (
        (coco.BENCHMARK, ["val2017: 1 of 2 images are missing: 2.jpg", "instances_train2017.json is missing"]),
        (lvis.BENCHMARK, ["lists images: 2 instead of 100,170", "train2017/1.jpg"]),
    ):
        with pytest.raises(UserError) as caught:
            prepare_benchmark(benchmark, tmp_path, tmp_path, verify=False, only_check=False)
        assert all(sentence in str(caught.value) for sentence in told), str(caught.value)
    assert (tmp_path / "coco" / "val2017" / "1.jpg").is_file()


def test_imagenet_becomes_class_folders(tmp_path):
    scipy_io = pytest.importorskip("scipy.io")
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w") as packed:
        entry = tarfile.TarInfo("n01440764_10026.JPEG")
        entry.size = len(a_picture())
        packed.addfile(entry, io.BytesIO(a_picture()))
    a_tar(tmp_path / "ILSVRC2012_img_train.tar", {"n01440764.tar": inner.getvalue()})
    val = {f"ILSVRC2012_val_0000000{number}.JPEG": a_picture() for number in (1, 2)}
    a_tar(tmp_path / "ILSVRC2012_img_val.tar", val)
    table = np.array(
        [(1, "n02119789", 0), (2, "n01440764", 0), (3, "n00000000", 2)],
        dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O"), ("num_children", "O")],
    )
    meta = io.BytesIO()
    scipy_io.savemat(meta, {"synsets": table})
    with pytest.raises(UserError, match="does not say the classes of its images"):
        imagenet.unpack(Archive("ILSVRC2012_img_val.tar", "", imagenet.place), tmp_path, tmp_path)
    kit = {f"ILSVRC2012_devkit_t12/{imagenet.META}": meta.getvalue()}
    a_tar(tmp_path / "ILSVRC2012_devkit_t12.tar.gz", {**kit, f"ILSVRC2012_devkit_t12/{imagenet.TRUTH}": b"2\n1\n"})
    with pytest.raises(UserError, match="holds classes: 1 instead of 1,000"):
        prepare_benchmark(imagenet.BENCHMARK, tmp_path, tmp_path, verify=False, only_check=False)
    folder = tmp_path / "imagenet"
    assert (folder / "train" / "n01440764" / "n01440764_10026.JPEG").is_file()
    assert (folder / "val" / "n01440764" / "ILSVRC2012_val_00000001.JPEG").is_file()
    assert (folder / "val" / "n02119789" / "ILSVRC2012_val_00000002.JPEG").is_file()


def write_cityscapes(root):
    """A layout of one image; its folder and name, and the values of its instance image."""
    folder, name = root / "cityscapes", "aachen/aachen_000000_000019"
    values = np.full((40, 60), 7, dtype=np.uint16)  # road
    values[5:15, 10:30] = 26_000  # a car
    values[20:30, 40:50] = 24_003  # a person
    values[32:36, 0:9] = 26  # cars that could not be told apart
    for kind in ("gtFine", "leftImg8bit"):
        (folder / kind / "train" / "aachen").mkdir(parents=True)
    Image.fromarray(values).save(folder / "gtFine" / "train" / f"{name}{cityscapes.INSTANCES}")
    kinds = np.where(values >= 1000, values // 1000, values).astype(np.uint8)
    kinds[0, 0] = 4  # static: not evaluated
    Image.fromarray(kinds).save(folder / "gtFine" / "train" / f"{name}{cityscapes.LABELS}")
    Image.new("RGB", (60, 40)).save(folder / "leftImg8bit" / "train" / f"{name}{cityscapes.PICTURE}")
    return folder, name, values


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")  # pycocotools
def test_cityscapes_instances_and_labels_are_derived(tmp_path):
    folder, name, values = write_cityscapes(tmp_path)
    cityscapes.derive(tmp_path)
    from pycocotools.coco import COCO

    truth = COCO(str(folder / "annotations" / "instances_train.json"))
    assert truth.imgs[1]["file_name"] == f"{name}{cityscapes.PICTURE}"
    by_value = {(truth.cats[one["category_id"]]["name"], one["iscrowd"]): one for one in truth.anns.values()}
    assert set(by_value) == {("car", 0), ("person", 0), ("car", 1)}
    assert by_value["car", 0]["bbox"] == [10, 5, 20, 10] and by_value["car", 0]["area"] == 200
    assert np.array_equal(truth.annToMask(by_value["person", 0]).astype(bool), values == 24_003)
    found = np.array(Image.open(folder / "semantic" / "train" / f"{name}{cityscapes.PICTURE}"))
    assert found[0, 0] == 255 and found[0, 1] == 0 and found[6, 12] == 13 and found[25, 45] == 11
    told = " ".join(cityscapes.faults(tmp_path))
    assert "1 instead of 2,975" in told and "missing" not in told


def write_ade20k(root, labels, name="ADE_train_00000001"):
    """A layout of one image whose published label image holds `labels`; its folder."""
    folder = root / "ADEChallengeData2016"
    for kind in ("images", "annotations"):
        (folder / kind / "training").mkdir(parents=True)
    Image.new("RGB", labels.shape[::-1]).save(folder / "images" / "training" / f"{name}.jpg")
    Image.fromarray(labels).save(folder / "annotations" / "training" / f"{name}.png")
    return folder


def test_ade20ks_classes_start_at_0_and_what_has_no_class_is_ignored(tmp_path):
    labels = np.random.default_rng(0).integers(0, 151, (6, 9), dtype=np.uint8)
    folder = write_ade20k(tmp_path, labels)
    ade20k.derive(tmp_path)
    found = np.array(Image.open(folder / "annotations_detectron2" / "training" / "ADE_train_00000001.png"))
    assert np.array_equal(found, labels - np.uint8(1))  # detectron2's rule: 0 wraps to 255
    told = " ".join(ade20k.faults(tmp_path))
    assert "1 instead of 20,210" in told and "0 instead of 2,000" in told and "missing" not in told


def test_a_label_that_ade20k_does_not_have_is_refused_by_name(tmp_path):
    write_ade20k(tmp_path, np.full((6, 9), 151, dtype=np.uint8))
    with pytest.raises(UserError, match="ADE_train_00000001.png holds label 151, .* unpack ADEChallengeData2016.zip"):
        ade20k.derive(tmp_path)


def test_a_process_that_dies_while_cityscapes_is_derived_is_one_sentence(tmp_path):
    """As the kernel ends one when the memory runs out."""
    write_cityscapes(tmp_path)
    code = "import os, sys; from pathlib import Path; from pretrain.runtime.errors import run_tool\n"
    code += "from tools.datasets import cityscapes\n"
    code += "os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), 9))\n"
    code += "run_tool(lambda: cityscapes.derive(Path(sys.argv[1])))"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "has died" in done.stderr and "give this machine more memory" in done.stderr
    assert not (tmp_path / "cityscapes" / "annotations").exists()


def test_help_lists_every_set_without_torch_and_every_option_has_its_words():
    listing = "import sys; from tools import prepare_data as tool\ntry: tool.main(['--help'])\n"
    listing += "finally: assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    files = {path.stem for path in (ROOT / "tools" / "datasets").glob("*.py")} - {"__init__", "base"}
    assert files == set(all_datasets()) and all(f"    {name}" in done.stdout for name in files)
    for dataset in all_datasets().values():
        alone = argparse.ArgumentParser()
        dataset.add_options(alone)
        for action in alone._actions:
            assert action.help, (dataset.name, action.dest)
            assert action.type is not int or f"(default {action.default})" in action.help
