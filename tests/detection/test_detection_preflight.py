"""Nothing that would train on something else than was meant gets as far as iteration 0; each case is a test."""

import pickle

import pytest

pytest.importorskip("detectron2")

import torch

from helpers.detection_samples import C4, CONFIGS, FPN, QUIET, random_trunk, save_trunk, tiny, write_sets
from pretrain.models import TRUNKS
from pretrain.runtime.errors import UserError
from pretrain.weights.layouts.base import UNSCALED
from pretrain.weights.trunk import TrunkFile
from transfer.convert.write import provenance_of, save_detectron2, to_detectron2
from transfer.detection import loop, train
from transfer.detection.config import load, scale, validate
from transfer.detection.modeling import weights

pytestmark = QUIET
COCO_1X = CONFIGS / "fpn" / "coco_mask_rcnn_r50_fpn_1x.yaml"


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    return write_sets(tmp_path_factory.mktemp("sets"))


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return save_trunk(tmp_path_factory.mktemp("export") / "trunk.pth", random_trunk("resnet18"), "resnet18", step=7)


def refused(config, sets, out, weights_file, *overrides):
    """What a whole run says, having written no line of training."""
    with pytest.raises(UserError) as caught:
        train.train_detector(load.load_config(config, tiny(config, sets, weights_file, *overrides)), out, drawn=0)
    assert not (out / "metrics.json").exists() and not (out / "result.json").exists()
    return str(caught.value)


SILENT = {  # settings under which detectron2 trains on without a word, and the key that the sentence must name
    "MODEL.RESNETS.STRIDE_IN_1X1=True": "MODEL.RESNETS.STRIDE_IN_1X1 must be False",
    "INPUT.FORMAT=BGR": "INPUT.FORMAT='BGR' is not what the trunk was trained on: set it to RGB",
    "MODEL.PIXEL_STD=[1.0,1.0,1.0]": "set it to [58.395, 57.12, 57.375]",
    "MODEL.PIXEL_MEAN=[103.53,116.28,123.675]": "set it to [123.675, 116.28, 103.53]",
    "MODEL.PIXEL_MEAN=[0.485,0.456,0.406]": "MODEL.PIXEL_MEAN",
    "MODEL.RESNETS.NORM=GN": "MODEL.RESNETS.NORM='GN' has no place for the running statistics",
    "MODEL.RESNETS.STEM_TYPE=deeplab": "set it to basic",
    "MODEL.WEIGHTS=": "MODEL.WEIGHTS is empty",
    "MODEL.RESNETS.DEPTH=34": "holds a resnet18, but the configuration builds a resnet34",
    "DATASETS.EVALUATOR=voc": "DATASETS.EVALUATOR='voc' does not fit",
}


@pytest.mark.parametrize("override", SILENT, ids=lambda text: text.split("=")[0])
def test_a_setting_that_detectron2_would_accept_silently_stops_before_training(sets, export, tmp_path, override):
    assert SILENT[override] in refused(FPN, sets, tmp_path, export, override)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("MODEL.RESNETS.NORM=FrozenBN", "diverges under MODEL.RESNETS.NORM='FrozenBN'"),
        ("MODEL.BACKBONE.FREEZE_AT=2", "would keep random layers"),
    ],
)
def test_random_weights_are_neither_frozen_nor_under_a_frozen_norm(sets, tmp_path, override, sentence):
    assert sentence in refused(C4, sets, tmp_path, "random", override)


def spoilt(kind, state):
    """A checkpoint such as users hold, which detectron2 loads in part or not at all, with a line in its log."""
    if kind == "NaN":
        state["layer3.0.conv1.weight"][0] = float("nan")
    elif kind == "no statistics":
        return {name: tensor for name, tensor in state.items() if "running_" not in name}
    elif kind == "prefix":
        return {"state_dict": {f"some.wrapper.{name}": tensor for name, tensor in state.items()}}
    elif kind == "shape":
        state["layer4.0.conv2.weight"] = state["layer4.0.conv2.weight"][:, :64]
    elif kind == "half":
        return {name: tensor for name, tensor in state.items() if not name.startswith("layer4")}
    elif kind == "vit":
        return {"patch_embed.proj.weight": torch.zeros(8, 3, 4, 4), "blocks.0.attn.qkv.weight": torch.zeros(24, 8)}
    return state


@pytest.mark.parametrize("kind", ["NaN", "no statistics", "prefix", "shape", "half", "vit", "truncated"])
def test_a_file_that_would_fill_part_of_the_trunk_stops_before_training(sets, tmp_path, kind):
    path = tmp_path / "trunk.pth"
    torch.save(spoilt(kind, dict(random_trunk("resnet18").state_dict())), path)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:100_000])
    assert str(path) in refused(C4, sets, tmp_path / "out", path)


def test_a_resnet50_is_not_taken_for_a_resnet101(tmp_path):
    file = save_trunk(tmp_path / "r50.pth", random_trunk("resnet50"), "resnet50")
    cfg = load.load_config(COCO_1X, [f"MODEL.WEIGHTS={file}", "MODEL.RESNETS.DEPTH=101"])
    with pytest.raises(UserError, match="set MODEL.RESNETS.DEPTH=50"):
        weights.read_weights(cfg, tmp_path)


def test_a_pickle_that_would_run_code_is_refused_before_it_does(tmp_path, sets):
    class Attack:
        def __reduce__(self):
            return (tmp_path / "ran").touch, ()

    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps({"model": Attack(), "__author__": "x"}))
    assert str(path) in refused(C4, sets, tmp_path / "out", path)
    assert not (tmp_path / "ran").exists()


def test_a_caffe2_style_pickle_without_its_wrapper_is_refused(tmp_path, sets):
    path = tmp_path / "bare.pkl"
    state = random_trunk("resnet18").state_dict()
    path.write_bytes(pickle.dumps(to_detectron2(state, "resnet18")))
    assert "has no known layout" in refused(C4, sets, tmp_path / "out", path)


@pytest.mark.parametrize("arch", TRUNKS)
def test_the_keys_of_a_trunk_describe_it(arch):
    cfg = load.load_config(
        COCO_1X, ["MODEL.WEIGHTS=random", *(f"{key}={value}" for key, value in validate.keys_of(arch).items())]
    )
    assert validate.architecture(cfg) == arch


@pytest.mark.slow
def test_a_file_that_was_trained_on_other_pixels_asks_for_them(tmp_path, sets):
    """lightly's benchmarks and others train without statistics; a converted file carries what its source was fed."""
    trunk = TrunkFile(dict(random_trunk("resnet18").state_dict()), "resnet18", "torchvision", {}, pixels=UNSCALED)
    save_trunk(tmp_path / "trunk.pth", random_trunk("resnet18"), "resnet18")
    path = tmp_path / "unscaled.pkl"
    save_detectron2(path, trunk, provenance_of(tmp_path / "trunk.pth", trunk))
    assert "MODEL.PIXEL_MEAN" in refused(C4, sets, tmp_path / "out", path)
    fed = ("MODEL.PIXEL_MEAN=[0.0,0.0,0.0]", "MODEL.PIXEL_STD=[255.0,255.0,255.0]")
    weights.read_weights(load.load_config(C4, tiny(C4, sets, path, *fed)), tmp_path)


def test_the_input_that_a_file_states_is_the_one_asked_for(tmp_path):
    stated = {"format": "BGR", "mean": [103.53, 116.28, 123.675], "std": [1.0, 1.0, 1.0], "stride_in_1x1": True}
    cfg = load.load_config(COCO_1X, ["MODEL.WEIGHTS=random"])
    validate.check_input(cfg)
    with pytest.raises(UserError, match=r"MODEL.PIXEL_MEAN.*set it to \[103.53, 116.28, 123.675\]"):
        validate.check_input(cfg, stated)
    keys = ["INPUT.FORMAT", "BGR", "MODEL.PIXEL_MEAN", stated["mean"], "MODEL.PIXEL_STD", stated["std"]]
    cfg.merge_from_list([*keys, "MODEL.RESNETS.STRIDE_IN_1X1", True])
    validate.check_input(cfg, stated)
    with pytest.raises(UserError, match="MODEL.PIXEL_MEAN"):
        validate.check_input(cfg)


# the number of GPUs


@pytest.mark.parametrize("processes", [1, 4, 16])
def test_the_schedule_follows_the_number_of_processes_linearly(processes):
    cfg = load.load_config(COCO_1X, ["MODEL.WEIGHTS=random"])
    written = cfg.SOLVER.clone()
    notes = scale.scale_schedule(cfg, processes)
    factor = processes / 8
    assert 2 * processes == cfg.SOLVER.IMS_PER_BATCH
    assert pytest.approx(written.BASE_LR * factor) == cfg.SOLVER.BASE_LR
    images = [solver.MAX_ITER * solver.IMS_PER_BATCH for solver in (written, cfg.SOLVER)]
    assert images[0] == images[1] and list(cfg.SOLVER.STEPS) == [int(step / factor) for step in written.STEPS]
    assert int(written.WARMUP_ITERS / factor) == cfg.SOLVER.WARMUP_ITERS
    for number in (f"batch 16 -> {2 * processes}", f"iterations 90000 -> {cfg.SOLVER.MAX_ITER}"):
        assert number in notes[0]


def test_the_schedule_stays_on_the_reference_number_or_when_asked_to():
    cfg = load.load_config(COCO_1X, ["MODEL.WEIGHTS=random"])
    before = cfg.dump()
    assert scale.scale_schedule(cfg, 8) == [] and cfg.dump() == before
    cfg.SOLVER.REFERENCE_WORLD_SIZE = 0
    assert scale.scale_schedule(cfg, 3) == [] and cfg.SOLVER.MAX_ITER == 90000
    cfg.SOLVER.REFERENCE_WORLD_SIZE = 7
    with pytest.raises(UserError, match="cannot be shared equally by SOLVER.REFERENCE_WORLD_SIZE=7"):
        scale.scale_schedule(cfg, 1)


# a training that diverges


def test_a_diverged_training_keeps_the_state_before_the_bad_step(sets, tmp_path):
    wild = ("SOLVER.BASE_LR=1e30", "SOLVER.WARMUP_ITERS=0", "SOLVER.MAX_ITER=9")
    with pytest.raises(UserError, match="no longer finite at iteration") as caught:
        train.train_detector(load.load_config(C4, tiny(C4, sets, "random", *wild)), tmp_path, drawn=0)
    assert loop.DIVERGED in str(caught.value)
    kept = torch.load(tmp_path / loop.DIVERGED, weights_only=True)
    assert kept["iteration"] >= 1 and kept["trainer"]["optimizer"]["state"]
    assert {"backbone.stem.conv1.weight", "roi_heads.res5.norm.weight"} <= set(kept["model"])
    assert not (tmp_path / "last_checkpoint").exists()  # so that nothing resumes from it
