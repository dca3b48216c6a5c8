"""transfer.features.stages, against torchvision's own feature extractor and the published windows."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from helpers.outcomes import retold
from helpers.painted import paint_both
from pretrain.engine.checkpoint import export_trunk
from pretrain.models.trunks import build_trunk, plain_trunk
from pretrain.runtime.errors import UserError
from tools import evaluate
from transfer import results
from transfer.features.rows import RowFile
from transfer.features.stages import Stages, modules_of, pooled, stage_maps, stage_shapes, width_of_pooled

NODES = {"relu": "res1", "layer1": "res2", "layer2": "res3", "layer3": "res4", "layer4": "res5"}
PUBLISHED = {  # of a ResNet-50 at 224 pixels: channels, side, and AvgPool2d's window, stride and padding
    "res1": (64, 112, (10, 10, 4), 12),
    "res2": (256, 56, (16, 8, 0), 6),
    "res3": (512, 28, (13, 5, 0), 4),
    "res4": (1024, 14, (8, 3, 0), 3),
    "res5": (2048, 7, (6, 1, 0), 2),
}


def test_the_maps_are_those_that_torchvision_extracts():
    torch.manual_seed(0)
    trunk = plain_trunk("resnet18").eval()
    images = torch.randn(2, 3, 64, 48)
    expected = create_feature_extractor(trunk, NODES)(images)
    modules = modules_of("resnet18", trunk, "a test")
    found = stage_maps(trunk, modules, images)
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], values) for name, values in expected.items())
    assert list(stage_maps(trunk, modules, images, "res3")) == ["res1", "res2", "res3"]


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_resnet_d"])
def test_the_maps_of_a_network_of_timm_are_those_that_timm_extracts(name):
    torch.manual_seed(0)
    more = {"stem_type": "deep", "stem_width": 16, "avg_down": True} if name == "test_resnet_d" else {}
    whole = timm.create_model(name.removesuffix("_d"), num_classes=0, **more).eval()
    extractor = timm.create_model(name.removesuffix("_d"), features_only=True, **more).eval()
    extractor.load_state_dict(whole.state_dict(), strict=False)
    images = torch.randn(2, 3, 64, 48)
    modules = modules_of(f"timm/{name}", whole, "a test")
    found, expected = stage_maps(whole, modules, images), extractor(images)
    assert [values.shape[-1] for values in expected] == [24, 12, 6, 3, 2]
    assert list(found) == list(NODES.values()) and all(map(torch.equal, found.values(), expected))
    assert not any(module._forward_hooks for module in whole.modules())
    assert torch.equal(stage_maps(whole, modules, images, "res4")["res4"], expected[3])


@pytest.mark.parametrize("name", PUBLISHED)
def test_at_224_pixels_the_windows_are_the_published_ones(name):
    channels, side, window, grid = PUBLISHED[name]
    values = torch.randn(1, channels, side, side, generator=torch.Generator().manual_seed(0))
    found = pooled(values)
    assert torch.equal(found, nn.AvgPool2d(*window)(values).flatten(1)) and found.shape == (1, channels * grid**2)
    shape = stage_shapes("resnet50", 224, "a test")[1][name]
    assert shape == (1, channels, side, side) and width_of_pooled(shape) == channels * grid**2


def test_other_sides_are_pooled_to_the_same_grid_and_small_maps_stay_as_they_are():
    values = torch.randn(1, 64, 20, 30, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(pooled(values), nn.AdaptiveAvgPool2d(12)(values).flatten(1))
    small = values[:, :, :5, :5]
    assert torch.equal(pooled(small), small.flatten(1))


def test_rows_of_all_stages_are_their_pooled_maps_side_by_side():
    torch.manual_seed(0)
    trunk = plain_trunk("resnet18").eval()
    images = torch.randn(2, 3, 32, 32)
    modules, shapes = stage_shapes("resnet18", 32, "a test")
    rows, first = Stages(trunk, modules)(images), 0
    for name, values in stage_maps(trunk, modules, images).items():
        width = width_of_pooled(shapes[name])
        assert torch.equal(rows[:, first : first + width], pooled(values)), name
        first += width
    assert rows.shape == (2, first)


def test_columns_of_rows_on_disk_are_read_as_of_an_array(tmp_path):
    rows = np.arange(60, dtype=np.float32).reshape(10, 6)
    rows.tofile(tmp_path / "rows")
    cut = RowFile(tmp_path / "rows", (10, 6)).columns(2, 3)
    assert len(cut) == 10 and cut.shape == (10, 3)
    assert torch.equal(cut[:], torch.from_numpy(rows[:, 2:5])) and torch.equal(cut[7:99], cut[:][7:])
    assert torch.equal(cut[torch.tensor([4, 0, 4])], torch.from_numpy(rows[[4, 0, 4], 2:5]))
    assert torch.equal(torch.cat(list(cut.split(4))), cut[:])


def test_networks_without_stages_are_refused():
    with pytest.raises(UserError, match="timm/test_vit has none of 2, 4, 8, 32: choose a ResNet, or"):
        stage_shapes("timm/test_vit", 160, "an evaluation by stages")


@pytest.mark.slow
def test_every_stage_is_measured_on_rows_that_are_computed_once_and_kept(tmp_path, capsys):
    paint_both(tmp_path / "colours", train=8, val=4)
    torch.manual_seed(0)
    export_trunk(tmp_path / "t.pth", build_trunk("resnet18", zero_init_residual=False)[0], "resnet18", {"step": 3})
    given = ["--checkpoint", str(tmp_path / "t.pth"), "--data", str(tmp_path / "colours")]
    given += ["--out", str(tmp_path / "{task}.json")]
    quick = [
        "image_size=32",
        "workers=0",
        "device=cpu",
        "batch_size=16",
        "head.epochs=10",
        "head.lrs=[0.003]",
        "stages=[res1,res5]",
    ]
    with pytest.raises(UserError, match="stages keeps some 170 KB an image: give cache=FOLDER"):
        evaluate.main(["stages", *given, *quick])
    for said in (1, 0):
        evaluate.main(["stages", *given, *quick, f"cache={tmp_path / 'cache'}"])
        assert capsys.readouterr().out.count("features of train") == said
    result = results.load(tmp_path / "stages.json")
    assert list(result.metrics) == ["res1 top1", "res5 top1"] == retold(result, tmp_path)[0]
    assert result.metrics["res1 top1"] > 90 and result.metrics["res5 top1"] > 60  # colours under random convolutions
    assert "pooled maps of each stage (res1 9216, res5 512)" in result.protocol
    assert result.settings["found"]["frozen_precision_used"] == "fp32"
