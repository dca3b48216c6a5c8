"""Maps of dense and depth through the cache equal those without it; they are computed once, and shared by two ranks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from helpers.two_ranks import both
from pretrain.engine.checkpoint import export_trunk
from pretrain.models.trunks import build_trunk
from tools import evaluate
from transfer import per_image, results
from transfer.features import cache

SIZE = (40, 64)  # rows and columns
SPLITS = {"train": 10, "test": 5}
IMAGES = sum(SPLITS.values())
PART = 4  # three parts of train and two of test: work for each of two ranks


def evaluated(rank, place, out, folder):
    """Evaluate dense and depth; how many images this process gave to the trunk."""
    cache.PART = PART
    seen = []

    def note(module, given):
        if isinstance(module, nn.Conv2d) and module.in_channels == 3 and given[0].device.type == "cpu":
            seen.append(len(given[0]))

    pairs = [
        f"{kind}.{part}=images/{part}:{kind}/{part}" for kind in ("labels", "depths") for part in ("train", "test")
    ]
    quick = ["image_size=32", "workers=0", "device=cpu", "threads=1", "batch_size=4", "map_of=res2", *pairs]
    where = ["--checkpoint", f"{place}/trunk.pth", "--data", f"{place}/set", "--out", f"{out}/{{task}}.json"]
    hook = register_module_forward_pre_hook(note)
    try:
        evaluate.main(["dense,depth", *where, *quick, *([f"cache={folder}"] if folder else [])])
    finally:
        hook.remove()
    return sum(seen)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Stripes that are the brighter the nearer they are, with their depths and with near, middle and far as classes."""
    root = tmp_path_factory.mktemp("place")
    for part, count in SPLITS.items():
        for at in range(count):
            draw = np.random.default_rng((len(part), at))
            depth = draw.uniform(1, 9, 4).repeat(SIZE[1] // 4)[None].repeat(SIZE[0], 0)
            pixels = (255 - 28 * depth[..., None] + draw.normal(0, 6, (*SIZE, 3))).clip(0, 255).astype(np.uint8)
            labels, millimetres = (depth / 3).astype(np.uint8), (1000 * depth).astype(np.uint16)
            for folder, one in (("images", pixels), ("labels", labels), ("depths", millimetres)):
                (root / "set" / folder / part).mkdir(parents=True, exist_ok=True)
                Image.fromarray(one).save(root / "set" / folder / part / f"{at}.png")
    torch.manual_seed(0)
    trunk = build_trunk("resnet18", zero_init_residual=False)[0]
    export_trunk(root / "trunk.pth", trunk, "resnet18", {"step": 1, "seed": 0})
    return root


def told(folder):
    """By task the metrics, the counts, what was found, the protocol, and what came of each image."""
    found = {task: results.load(folder / f"{task}.json") for task in ("dense", "depth")}
    kept = {task: per_image.load(folder / one.artefacts["per_image"]) for task, one in found.items()}
    return {
        task: (one.metrics, one.counts, one.settings["found"], one.protocol, kept[task]) for task, one in found.items()
    }


def check_alike(one, other):
    for task in ("dense", "depth"):
        (metrics, counts, found, protocol, kept), expected = one[task], other[task]
        assert metrics == pytest.approx(expected[0], rel=1e-5) and (counts, protocol) == (expected[1], expected[3])
        assert found["weight_decay"] == expected[2]["weight_decay"] and list(found) == list(expected[2])
        once = np.ones((1, len(kept)), np.float32)
        assert kept.names == expected[4].names and SPLITS["test"] == len(kept)
        for name in metrics:
            assert kept.values(name, once) == pytest.approx(expected[4].values(name, once), rel=1e-5)


def test_the_cache_and_two_ranks_change_no_result_and_compute_each_map_once(place, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "PART", PART)  # which puts back what `evaluated` sets here
    alone, shared, again = tmp_path / "alone", tmp_path / "shared", tmp_path / "again"
    assert evaluated(0, place, alone, "") == 2 * IMAGES  # dense sees crops, depth whole images
    seen = both(evaluated, tmp_path, str(place), str(shared), f"{tmp_path}/cache")
    assert sum(seen) == 2 * IMAGES and min(seen) > 0
    assert evaluated(0, place, again, f"{tmp_path}/cache") == 0
    expected = told(alone)
    check_alike(told(shared), expected)
    check_alike(told(again), expected)
    assert (
        expected["depth"][0]["delta1"] > 50 and expected["dense"][0]["mIoU"] > 50
    )  # numbers that a fault would change
    assert len(list((tmp_path / "cache").glob("*/index.json"))) == 4
