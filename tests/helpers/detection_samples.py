"""Tiny generated sets, settings and trunks for the detection tests."""

import json
import re

import pytest
import torch
import torchvision

from helpers.repository import ROOT
from tools.datasets.drawing.layouts import write_scenes
from tools.datasets.drawing.objects import class_names

CONFIGS = ROOT / "configs" / "detection"
C4, FPN = CONFIGS / "c4" / "demo_r18_c4.yaml", CONFIGS / "fpn" / "demo_mask_r18_fpn.yaml"
NAMES = class_names(2)
SIZE = 64
QUIET = [  # of detectron2 and of pycocotools under newer torch and numpy; nothing here can change them
    pytest.mark.filterwarnings("ignore:torch.meshgrid:UserWarning"),
    pytest.mark.filterwarnings("ignore:The 'warn' method is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]


def write_sets(root):
    """ROOT/voc and ROOT/coco with 4 training and 3 validation scenes of 64 px and two classes."""
    write_scenes(root / "voc", root / "coco", NAMES, {"train": 4, "val": 3}, SIZE, seed=0)
    return root


def tiny(config, root, weights="random", *more):
    """Overrides that make one of the demo configurations a matter of a second or two."""
    layout = "voc" if config == C4 else "coco"
    overrides = [
        f"DATASETS.ROOT={root / layout}",
        f"MODEL.WEIGHTS={weights}",
        f"DATASETS.CLASSES={tuple(NAMES)}",
        "MODEL.ROI_HEADS.NUM_CLASSES=2",
        "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE=4",
        "MODEL.RPN.POST_NMS_TOPK_TEST=4",
        "INPUT.MIN_SIZE_TRAIN=(64,)",
        "INPUT.MIN_SIZE_TEST=64",
        "TEST.PRECISE_BN.NUM_ITER=1",
        "SOLVER.IMS_PER_BATCH=2",
        "SOLVER.MAX_ITER=2",
    ]
    return [*overrides, *more]


def random_trunk(arch, seed=0):
    """A torchvision ResNet in eval mode whose batch norms do something: no statistic or affine value is trivial."""
    torch.manual_seed(seed)
    trunk = getattr(torchvision.models, arch)()
    trunk.fc = torch.nn.Identity()
    for module in trunk.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.3, 0.3),
                (module.running_mean, -0.3, 0.3),
                (module.running_var, 0.5, 1.5),
            ):
                torch.nn.init.uniform_(tensor, low, high)
    return trunk.eval()


def save_trunk(path, trunk, arch, step=None):
    """An export as pre-training writes it; step 0 is a random initialisation."""
    meta = {} if step is None else {"step": step, "method": "unigrad"}
    content = {"format": "unigrad-trunk", "arch": arch, "state_dict": trunk.state_dict(), "meta": meta}
    torch.save(content, path)
    return path


def renamed(state, layer):
    """One of torchvision's layers under detectron2's names, spelt out here independently of transfer/convert.py."""
    spelt = {}
    for name, tensor in state.items():
        if name.startswith(f"{layer}."):
            name = name.removeprefix(f"{layer}.").replace("downsample.0.", "shortcut.")
            name = name.replace("downsample.1.", "shortcut.norm.")
            spelt[re.sub(r"bn(\d)\.", r"conv\1.norm.", name)] = tensor
    return spelt


def _change(root, change):
    for split in ("train", "val"):
        listing = root / "coco" / "annotations" / f"instances_{split}2017.json"
        content = json.loads(listing.read_text())
        change(content)
        listing.write_text(json.dumps(content))


def one_class(root):
    """Make all objects of ROOT/coco the first category's."""

    def change(content):
        content["categories"] = content["categories"][:1]
        for found in content["annotations"]:
            found["category_id"] = content["categories"][0]["id"]

    _change(root, change)


def with_keypoints(root):
    """Give every object of ROOT/coco a nose and a left eye; its right eye is not visible."""

    def change(content):
        content["categories"][0]["keypoints"] = ["nose", "left_eye", "right_eye"]
        for found in content["annotations"]:
            left, top, _, _ = found["bbox"]
            found["keypoints"] = [left + 1, top + 1, 2, left + 2, top + 1, 2, 0, 0, 0]
            found["num_keypoints"] = 2

    _change(root, change)


def with_run_lengths(root):
    """Write the masks of ROOT/coco run-length coded, as those of objects in several pieces are."""
    import pycocotools.mask

    def change(content):
        for found in content["annotations"]:
            (coded,) = pycocotools.mask.frPyObjects(found["segmentation"], SIZE, SIZE)
            found["segmentation"] = {"size": coded["size"], "counts": coded["counts"].decode("ascii")}

    _change(root, change)
