"""Networks of timm below an FPN: their maps are timm's own, all of their weights learn, and every file is checked."""

from __future__ import annotations

import pytest

pytest.importorskip("detectron2")
pytest.importorskip("timm")

import timm
import torch

from helpers.detection_samples import CONFIGS, FPN, QUIET, random_trunk, save_trunk, tiny, write_sets
from pretrain.runtime.errors import UserError
from transfer.detection import train
from transfer.detection.config import load, scale
from transfer.detection.modeling import weights
from transfer.detection.modeling.timm_trunk import TimmTrunk, fill, stage_channels

pytestmark = QUIET
STAGES = ("res2", "res3", "res4", "res5")
SMALLEST = "timm/test_resnet"
# what lies behind the last stage of each, by the name of its module
NETWORKS = {
    "test_resnet": "",
    "test_efficientnet": "conv_head",
    "test_convnext": "head.norm",
    "mobilenetv3_small_050": "conv_head",
}
RETINA = CONFIGS / "fpn" / "coco_mini_retinanet_r18_cpu.yaml"


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    return write_sets(tmp_path_factory.mktemp("sets"))


def exported(folder, name="test_resnet", step=7, seed=0):
    """A trunk of timm as pretraining exports it."""
    torch.manual_seed(seed)
    state = timm.create_model(name, num_classes=0).state_dict()
    meta = {"step": step, "method": "unigrad"}
    path = folder / f"{name}.pth"
    torch.save({"format": "unigrad-trunk", "arch": f"timm/{name}", "state_dict": state, "meta": meta}, path)
    return path


@pytest.mark.parametrize("name", NETWORKS)
def test_the_maps_are_those_that_timm_extracts(name):
    torch.manual_seed(0)
    whole = timm.create_model(name, num_classes=0).eval()
    last = len(whole.feature_info) - 1
    extractor = timm.create_model(name, features_only=True, out_indices=range(last - 3, last + 1)).eval()
    flat = {key.replace("stages.", "stages_").replace("stem.", "stem_"): of for key, of in whole.state_dict().items()}
    ours = extractor.state_dict()
    extractor.load_state_dict({key: flat.get(key, whole.state_dict().get(key)) for key in ours})
    trunk = TimmTrunk(f"timm/{name}", STAGES, "BN").eval()
    assert len(fill(trunk, whole.state_dict())) == len(trunk.network.state_dict())
    images = torch.randn(2, 3, 64, 96)
    found, expected = trunk(images), extractor(images)
    assert list(found) == list(STAGES) and all(map(torch.equal, found.values(), expected))
    told = {key: (shape.channels, shape.stride) for key, shape in trunk.output_shape().items()}
    assert told == {key: (of.shape[1], 64 // of.shape[2]) for key, of in found.items()}


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_lies_behind_the_last_map_and_every_weight_has_a_gradient(name):
    trunk = TimmTrunk(f"timm/{name}", STAGES, "BN")
    assert trunk.network.training
    sum(of.square().sum() for of in trunk(torch.randn(2, 3, 64, 64)).values()).backward()
    assert [key for key, weight in trunk.named_parameters() if weight.grad is None] == []
    removed = set(timm.create_model(name, num_classes=0).state_dict()) - set(trunk.network.state_dict())
    behind = NETWORKS[name]
    assert bool(removed) == bool(behind) and any(key.startswith(f"{behind}.") for key in removed) == bool(behind)


def test_fewer_stages_end_the_network_earlier():
    trunk = TimmTrunk(SMALLEST, STAGES[:3], "BN")
    assert list(trunk(torch.randn(1, 3, 64, 64))) == list(STAGES[:3])
    assert not any(key.startswith("layer4") for key in trunk.network.state_dict())


def test_frozen_norms_keep_their_statistics_and_their_activation():
    torch.manual_seed(0)
    plain = TimmTrunk("timm/test_efficientnet", STAGES, "BN").eval()
    frozen = TimmTrunk("timm/test_efficientnet", STAGES, "FrozenBN").train()
    fill(frozen, plain.network.state_dict())
    images = torch.randn(2, 3, 64, 64)
    for found, expected in zip(frozen(images).values(), plain(images).values(), strict=True):
        torch.testing.assert_close(found, expected)
    assert not any("bn" in key for key, _ in frozen.network.named_parameters())


def test_norms_over_all_processes_keep_their_activation():
    synced = TimmTrunk("timm/test_efficientnet", STAGES, "SyncBN")
    norms = [module for module in synced.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    assert norms and all(isinstance(norm, torch.nn.SyncBatchNorm) for norm in norms)
    assert any(isinstance(norm.act, torch.nn.SiLU | torch.nn.ReLU | torch.nn.ReLU6) for norm in norms)


def test_norms_over_several_processes_are_refused_on_a_cpu(sets):
    cfg = load.load_config(FPN, tiny(FPN, sets, "random", f"MODEL.BACKBONE.ARCH={SMALLEST}", "MODEL.DEVICE=cpu"))
    with pytest.raises(UserError, match="use one process, or set it to BN"):
        scale.fit_to_machine(cfg.clone(), 2)
    scale.fit_to_machine(cfg, 1)
    assert cfg.MODEL.RESNETS.NORM == "BN"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "kinds"), [(FPN, {"bbox_AP", "segm_AP"}), (RETINA, {"bbox_AP"})], ids=["Mask R-CNN", "RetinaNet"]
)
def test_a_detector_trains_from_a_trunk_of_timm(tmp_path, sets, capsys, config, kinds):
    chosen = [f"MODEL.BACKBONE.ARCH={SMALLEST}", "MODEL.RETINANET.NUM_CLASSES=2", "SOLVER.REFERENCE_WORLD_SIZE=0"]
    chosen += ["DATASETS.TRAIN=('train2017',)", "DATASETS.TEST=('val2017',)", "DATALOADER.NUM_WORKERS=0"]
    file = exported(tmp_path)
    result = train.train_detector(load.load_config(config, tiny(FPN, sets, file, *chosen)), tmp_path / "run", drawn=1)
    assert kinds <= set(result.metrics) and (result.arch, result.init) == (SMALLEST, "pretrained")
    assert f"{SMALLEST}, 2 iterations of 2 images" in result.protocol and "ResNet" not in result.protocol
    assert f"tensors of the {SMALLEST} are those of {file}, bit for bit.\n" in capsys.readouterr().out
    saved = torch.load(tmp_path / "run" / "model_final.pth", weights_only=True)["model"]
    started = torch.load(file, weights_only=True)["state_dict"]
    assert {key for key in saved if key.startswith("backbone.bottom_up.")} == {
        f"backbone.bottom_up.network.{key}" for key in started
    }
    moved = "layer4.0.conv1.weight"
    assert not torch.equal(saved[f"backbone.bottom_up.network.{moved}"], started[moved])


@pytest.mark.slow
def test_what_lies_behind_the_last_map_is_told(tmp_path, sets, capsys):
    chosen = ("MODEL.BACKBONE.ARCH=timm/test_efficientnet", "DATALOADER.NUM_WORKERS=0")
    file = exported(tmp_path, "test_efficientnet")
    train.train_detector(load.load_config(FPN, tiny(FPN, sets, file, *chosen)), tmp_path / "run", drawn=0)
    assert "bit for bit. 5 tensors behind its last stage are left out.\n" in capsys.readouterr().out


def test_a_trunk_that_was_not_filled_is_told(tmp_path):
    trunk = TimmTrunk(SMALLEST, STAGES, "BN")
    detector = torch.nn.ModuleDict({"backbone": torch.nn.ModuleDict({"bottom_up": trunk})})
    state = dict(timm.create_model("test_resnet", num_classes=0).state_dict())
    weights.check_filled(detector, fill(detector, state), "a file")
    with pytest.raises(UserError, match=r"2 tensors are not in the file \(layer1.0.conv1.weight, layer4.0.bn1.bias"):
        lacking = {key: of for key, of in state.items() if key not in ("layer1.0.conv1.weight", "layer4.0.bn1.bias")}
        weights.check_filled(detector, lacking, "a file")
    with pytest.raises(UserError, match="1 tensors differ after loading"):
        weights.check_filled(detector, {**state, "conv1.0.weight": state["conv1.0.weight"] + 1}, "a file")


REFUSED = {  # overrides to what is said
    "MODEL.BACKBONE.ARCH=": "set MODEL.BACKBONE.ARCH=timm/test_resnet, or give another file",
    "MODEL.BACKBONE.ARCH=timm/test_efficientnet": "is a timm/test_resnet, not the timm/test_efficientnet",
    "MODEL.BACKBONE.ARCH=resnet50": "is not timm/NAME: leave it unset for a ResNet",
    "MODEL.BACKBONE.ARCH=timm/test_resnt": "did you mean timm/test_resnet",
    "MODEL.BACKBONE.ARCH=timm/vit_tiny_patch16_224": "has none of 4, 8, 32",
    "MODEL.BACKBONE.ARCH=timm/swin_tiny_patch4_window7_224": "choose a network of convolutions",
    "MODEL.BACKBONE.ARCH=timm/maxvit_tiny_rw_224": "does not take images of any size",
    "MODEL.BACKBONE.ARCH=timm/hrnet_w18_small": "has none of 4",
    f"MODEL.BACKBONE.ARCH={SMALLEST} MODEL.BACKBONE.NAME=build_resnet_backbone": "goes below an FPN",
    f"MODEL.BACKBONE.ARCH={SMALLEST} MODEL.FPN.IN_FEATURES=['p2','res3']": "must list stages of res1, res2, res3",
    f"MODEL.BACKBONE.ARCH={SMALLEST} MODEL.FPN.IN_FEATURES=['res4','res3']": "in this order",
    f"MODEL.BACKBONE.ARCH={SMALLEST} MODEL.RESNETS.NORM=naiveSyncBN": "set it to one of BN, SyncBN, FrozenBN",
    f"MODEL.BACKBONE.ARCH={SMALLEST} MODEL.BACKBONE.FREEZE_AT=2": "set it to 0 for timm/test_resnet",
    f"MODEL.BACKBONE.ARCH={SMALLEST} MODEL.PIXEL_STD=[1.0,1.0,1.0]": "is not what the trunk was trained on",
}


@pytest.mark.parametrize("overrides", REFUSED)
def test_what_cannot_be_built_is_refused_before_training(tmp_path, sets, overrides):
    file = exported(tmp_path)
    with pytest.raises(UserError) as caught:
        cfg = load.load_config(FPN, tiny(FPN, sets, file, *overrides.split()))
        train.train_detector(cfg, tmp_path / "run", drawn=0)
    assert REFUSED[overrides] in str(caught.value) and not (tmp_path / "run").exists()


def test_a_resnet_of_torchvision_for_a_network_of_timm_is_refused(tmp_path, sets):
    file = save_trunk(tmp_path / "trunk.pth", random_trunk("resnet18"), "resnet18", step=7)
    with pytest.raises(UserError, match="is not a whole timm/test_resnet trunk"):
        overrides = tiny(FPN, sets, file, f"MODEL.BACKBONE.ARCH={SMALLEST}")
        train.train_detector(load.load_config(FPN, overrides), tmp_path / "run", drawn=0)


def test_channels_are_told_of_the_stages_that_are_asked_for():
    assert stage_channels(SMALLEST, ("res3", "res5")) == {"res3": 48, "res5": 96}
