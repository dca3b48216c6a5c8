"""transfer.datasets.variants and what judges by a trained head: where each folder belongs, and numbers."""

from __future__ import annotations

import json
import shutil
from importlib import metadata
from pathlib import Path

import pytest
import torch

from helpers.outcomes import retold
from helpers.painted import COLOURS, paint
from pretrain.engine.checkpoint import export_trunk
from pretrain.models.trunks import build_trunk
from pretrain.runtime.errors import UserError
from tools import evaluate
from transfer import results
from transfer.datasets.variants import open_variants, variant_of, variants
from transfer.datasets.variants.base import Place, wnids

SHARED = ("n01498041", "n01531178", "n01534433")  # three classes of ImageNet-A and of ImageNet-R
QUICK = ["image_size=24", "workers=0", "device=cpu", "batch_size=16"]


def test_the_lists_are_imagenets_thousand_and_two_hundred_of_them_each():
    whole = wnids("imagenet")
    assert len(whole) == 1000 and list(whole) == sorted(set(whole))
    assert (whole[0], whole[388], whole[999]) == ("n01440764", "n02510455", "n15075141")  # tench, panda, toilet tissue
    for name in ("imagenet_a", "imagenet_r"):
        assert len(set(wnids(name))) == len(wnids(name)) == 200 and set(wnids(name)) < set(whole)
    assert "n02510455" in wnids("imagenet_r") and "n02510455" not in wnids("imagenet_a")


@pytest.mark.parametrize(
    ("folder", "inside", "place"),
    [
        ("imagenet-a", "n01498041", Place("A", ("n01498041",))),
        ("imagenet-r", "n02510455", Place("R", ("n02510455",))),
        ("sketch", "n15075141", Place("Sketch", ("n15075141",))),
        ("ImageNet_Sketch", "n15075141", Place("Sketch", ("n15075141",))),
        ("imagenetv2-matched-frequency-format-val", "388", Place("V2 matched-frequency", ("n02510455",))),
        ("imagenetv2-top-images-format-val", "0", Place("V2 top-images", ("n01440764",))),
        ("imagenet-c", "weather/fog/3/n01440764", Place("C fog 3", ("n01440764",))),
        ("imagenet-c", "gaussian_noise/5/n01440764", Place("C gaussian_noise 5", ("n01440764",))),
    ],
)
def test_a_folder_says_its_variant_its_group_and_its_class(folder, inside, place):
    assert variant_of(folder).place(Path(folder), inside) == place


@pytest.mark.parametrize(
    ("folder", "inside", "sentence"),
    [
        ("imagenet-a", "n02510455", "is no class of the 200 of imagenet-a"),
        ("imagenet-r", "cat", "is no class of the 200 of imagenet-r .'cat'."),
        ("imagenetv2-x", "1000", "its folders are the numbers 0 to 999"),
        ("imagenet-c", "fog/n01440764", "is not CORRUPTION/SEVERITY/CLASS"),
        ("objectnet-1.0", "images/chair", "folder_to_objectnet_label.json is missing"),
    ],
)
def test_folders_of_another_version_are_refused(folder, inside, sentence):
    with pytest.raises(UserError, match=sentence):
        variant_of(folder).place(Path(folder), inside)


def test_objectnets_kinds_are_classes_by_its_own_maps(tmp_path):
    """The names of its list stand in another order than torch's classes: line 0 is class 2 here."""
    maps = tmp_path / "mappings"
    maps.mkdir()
    (maps / "folder_to_objectnet_label.json").write_text(json.dumps({"chair": "Chair", "sofa": "Sofa"}))
    (maps / "objectnet_to_imagenet_1k.json").write_text(json.dumps({"Chair": "barber chair; folding chair"}))
    (maps / "pytorch_to_imagenet_2012_id.json").write_text(json.dumps({"2": 0, "0": 1, "1": 2}))
    (maps / "imagenet_to_label_2012_v2").write_text("barber chair\nfolding chair\nother\n")
    place = variants()["objectnet"].place
    whole = wnids("imagenet")
    assert place(tmp_path, "images/chair") == Place("ObjectNet", (whole[2], whole[0]))
    assert place(tmp_path, "images/sofa") is None


def test_folders_are_found_below_a_root_or_as_the_root(tmp_path):
    for name in ("imagenet-a", "imagenet-r", "other"):
        paint(tmp_path / name, 1)
    everything = open_variants(tmp_path, [])
    assert everything.val.classes == tuple(f"{one}/{name}" for one in ("imagenet-a", "imagenet-r") for name in COLOURS)
    assert open_variants(tmp_path / "imagenet-r", []).val.classes == everything.val.classes[3:]
    assert open_variants(tmp_path, ["a"]).val.classes == everything.val.classes[:3]
    with pytest.raises(UserError, match="holds no folder of the variant v2: name it as its archive does .imagenetv2"):
        open_variants(tmp_path, ["v2"])
    with pytest.raises(UserError, match="holds no folder of a variant of ImageNet"):
        open_variants(tmp_path / "other", [])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A trunk, its head of three classes of ImageNet, and variants that hold copies of val."""
    root = tmp_path_factory.mktemp("place")
    for split, count, seed in (("train", 8, 1), ("val", 4, 2)):
        paint(root / "data" / split, count, seed=seed)
        for name, wnid in zip(COLOURS, SHARED, strict=True):
            (root / "data" / split / name).rename(root / "data" / split / wnid)
    for seed, name in enumerate(("trunk", "other")):
        torch.manual_seed(seed)
        export_trunk(
            root / f"{name}.pth", build_trunk("resnet18", zero_init_residual=False)[0], "resnet18", {"step": 1}
        )
    for folder in ("imagenet-a", "imagenet-r", "imagenet-c/blur/zoom_blur/1"):
        shutil.copytree(root / "data" / "val", root / "variants" / folder)
    whole = wnids("imagenet")
    for wnid in SHARED:
        target = root / "variants" / "imagenetv2-matched-frequency" / str(whole.index(wnid))
        shutil.copytree(root / "data" / "val" / wnid, target)
    fast = ["probe=fast", "head.epochs=20", "head.lrs=[0.01]", "head.weight_decays=[0.001]"]
    evaluate.main(command(root, "linear", root / "data", root / "linear.json", *fast))
    return root


def command(place, task, data, out, *more, trunk="trunk"):
    return [task, "--checkpoint", f"{place}/{trunk}.pth", "--data", str(data), "--out", str(out), *QUICK, *more]


@pytest.mark.slow
def test_copies_of_val_have_vals_accuracy_in_every_variant(place, tmp_path):
    linear = results.load(place / "linear.json")
    assert linear.artefacts["head"] == "linear-head.pth"
    head = f"trained_head={place / 'linear-head.pth'}"
    evaluate.main(command(place, "variants", place / "variants", tmp_path / "v.json", head))
    found = results.load(tmp_path / "v.json")
    names = ["V2 matched-frequency top1", "A top1", "R top1", "C zoom blur, top1"]
    assert [found.metrics[name] for name in names] == pytest.approx([linear.metrics["top1"]] * 4)
    told, kept = retold(found, tmp_path)
    assert told == list(found.metrics) and len(kept) == 48  # of ImageNet-C each photograph once
    assert "A and R among their own 200 classes" in found.protocol
    assert found.counts["val"] == 48 and found.settings["found"]["head_classes"] == 3
    chosen = ["corruptions=[contrast]", "severities=[1,5]"]
    evaluate.main(command(place, "corruptions", place / "data", tmp_path / "c.json", head, *chosen))
    changed = results.load(tmp_path / "c.json")
    assert changed.metrics["clean, 12 images, top1"] == pytest.approx(linear.metrics["top1"])
    assert retold(changed, tmp_path)[0] == list(changed.metrics)
    each = changed.settings["found"]["by severity"]
    assert metadata.version("opencv-python-headless").startswith(changed.settings["found"]["opencv"])
    assert changed.metrics["contrast, top1"] == pytest.approx((each["contrast 1"] + each["contrast 5"]) / 2)


@pytest.mark.slow
def test_other_heads_and_classes_are_refused_in_one_sentence(place, tmp_path):
    head, out = f"trained_head={place / 'linear-head.pth'}", tmp_path / "r.json"
    with pytest.raises(UserError, match="was trained on another trunk"):
        evaluate.main(command(place, "variants", place / "variants", out, head, trunk="other"))
    shutil.copytree(place / "data" / "val" / SHARED[0], tmp_path / "sketch" / "n15075141")
    shutil.copytree(place / "data" / "val" / SHARED[0], tmp_path / "sketch" / SHARED[0])
    with pytest.raises(UserError, match=".shared=true leaves such out. has 1 of 2 classes .* such as 'n15075141'"):
        evaluate.main(command(place, "variants", tmp_path, out, head))
    evaluate.main(command(place, "variants", tmp_path, out, head, "shared=true"))
    assert results.load(out).counts["left_out"] == 4 and results.load(out).counts["val"] == 4
    for task in ("variants", "corruptions"):
        with pytest.raises(UserError, match=f"{task} needs trained_head=FILE"):
            evaluate.main(command(place, task, place / "variants", out))
    with pytest.raises(UserError, match="frost needs its five photographs"):
        evaluate.main(command(place, "corruptions", place / "data", out, head, "corruptions=[frost]"))
    (place / "data" / "val" / SHARED[0]).rename(place / "data" / "val" / "n15075141")
    (place / "data" / "train" / SHARED[0]).rename(place / "data" / "train" / "n15075141")
    with pytest.raises(UserError, match="has 1 of 3 classes that the head has not, such as 'n15075141'"):
        evaluate.main(command(place, "corruptions", place / "data", out, head))
