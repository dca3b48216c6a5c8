"""Detectors: heads and trunk are torchvision's, perfect predictions give AP 100, runs start, go on and stop."""

import json
import os
import signal
import sys
import time

import numpy as np
import pytest

pytest.importorskip("detectron2")

import torch
from PIL import Image

from helpers import tool_process, two_ranks
from helpers.detection_oracle import Oracle
from helpers.detection_samples import (
    C4,
    FPN,
    NAMES,
    QUIET,
    ROOT,
    SIZE,
    random_trunk,
    renamed,
    save_trunk,
    tiny,
    write_sets,
)
from pretrain.augment.normalisation import normalise
from pretrain.runtime.errors import UserError
from pretrain.weights.read_trunk import read_trunk
from transfer import results
from transfer.detection import catalog, train
from transfer.detection.config import load, scale
from transfer.detection.evaluation import measure
from transfer.detection.modeling import roi_heads, weights
from transfer.detection.visualization import instances

pytestmark = QUIET


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    return write_sets(tmp_path_factory.mktemp("sets"))


@pytest.fixture(scope="module")
def trunk():
    return random_trunk("resnet18")


@pytest.fixture(scope="module")
def export(tmp_path_factory, trunk):
    return save_trunk(tmp_path_factory.mktemp("export") / "trunk.pth", trunk, "resnet18", step=7)


def configured(config, sets, file, *more):
    cfg = load.load_config(config, tiny(config, sets, file, *more))
    scale.fit_to_machine(cfg, 1)
    return cfg


def detector(cfg):
    from detectron2.modeling import build_model

    torch.manual_seed(0)
    return build_model(cfg).eval()


# heads and trunk


@pytest.mark.parametrize("depth", [18, 34, 50, 101])
def test_res5_of_the_c4_head_is_torchvisions_layer4_and_then_a_norm(depth):
    trunk = random_trunk(f"resnet{depth}")
    channels_of_res2 = f"MODEL.RESNETS.RES2_OUT_CHANNELS={64 if depth < 50 else 256}"
    chosen = [f"MODEL.RESNETS.DEPTH={depth}", channels_of_res2, "MODEL.RESNETS.NORM=BN"]
    cfg = load.load_config(C4, ["MODEL.WEIGHTS=random", *chosen])
    res5, channels = roi_heads.Res5ROIHeadsExtraNorm._build_res5_block(cfg)
    norm = res5[-1]
    missing = res5.load_state_dict(renamed(trunk.state_dict(), "layer4"), strict=False)
    assert missing.unexpected_keys == [] and all(name.startswith("norm.") for name in missing.missing_keys)
    torch.nn.init.uniform_(norm.running_mean)
    image = torch.randn(2, trunk.layer4[0].conv1.in_channels, 7, 7)
    with torch.no_grad():
        expected = trunk.layer4(image)
        assert channels == expected.shape[1] == norm.num_features
        shift = norm.running_mean[None, :, None, None]
        torch.testing.assert_close(res5.eval()(image), (expected - shift) / (1 + norm.eps) ** 0.5)


@pytest.mark.parametrize(("config", "layers"), [(C4, ("layer3",)), (FPN, ("layer1", "layer2", "layer3", "layer4"))])
def test_a_filled_detector_computes_torchvisions_features_of_an_image(sets, tmp_path, trunk, export, config, layers):
    """From the bytes of a picture to the last stage: channel order, means, strides and tensors at once."""
    cfg = configured(config, sets, export)
    model = detector(cfg)
    weights.fill_detector(model, weights.read_weights(cfg, tmp_path))
    picture = torch.randint(0, 256, (3, SIZE, SIZE), dtype=torch.uint8)  # RGB, as DatasetMapper hands it over
    inside = model.preprocess_image([{"image": picture}]).tensor
    expected = normalise(picture[None])
    torch.testing.assert_close(inside[..., :SIZE, :SIZE], expected, atol=1e-5, rtol=0)
    body = model.backbone.bottom_up if config == FPN else model.backbone
    with torch.no_grad():
        stages, features = body(expected), trunk.maxpool(trunk.relu(trunk.bn1(trunk.conv1(expected))))
        for number in (1, 2, 3, 4):
            features = getattr(trunk, f"layer{number}")(features)
            if f"layer{number}" in layers:
                torch.testing.assert_close(stages[f"res{number + 1}"], features, atol=1e-4, rtol=0)
    assert (config == C4) == hasattr(getattr(model.roi_heads, "res5", None), "norm")


@pytest.mark.parametrize("config", [C4, FPN], ids=["c4", "fpn"])
def test_a_trunk_that_is_not_wholly_the_files_is_refused(sets, tmp_path, export, config):
    cfg = configured(config, sets, export)
    found = weights.read_weights(cfg, tmp_path)
    model = detector(cfg)
    with pytest.raises(UserError, match="differ after loading"):  # never loaded
        weights.check_filled(model, found.state, "file")
    weights.fill_detector(model, found)
    weights.check_filled(model, found.state, "file")
    res5 = model.roi_heads.res5 if config == C4 else model.backbone.bottom_up.res5
    with torch.no_grad():
        res5[1].conv2.norm.running_var[3] += 1e-6  # one number in the last block
    with pytest.raises(UserError, match=r"1 tensors differ after loading \(res5.1.conv2.norm.running_var"):
        weights.check_filled(model, found.state, "file")
    partial = {name: tensor for name, tensor in found.state.items() if not name.startswith("res3.0.conv1")}
    with pytest.raises(UserError, match="6 tensors are not in the file"):
        weights.check_filled(model, partial, "file")
    cfg.MODEL.RESNETS.NORM = "GN"  # has no running statistics: detectron2 loads the rest without an error
    with pytest.raises(UserError, match="are nowhere in the detector"):
        weights.fill_detector(detector(cfg), found)


def test_a_damaged_or_foreign_file_is_refused_before_training(sets, tmp_path, export, trunk):
    import pickle

    weights.read_weights(configured(C4, sets, export), tmp_path)
    whole = (tmp_path / "trunk.pkl").read_bytes()
    content = pickle.loads(whole)
    del content["model"]["res4.1.conv2.weight"]
    lacking = {"lacking.pkl": pickle.dumps(content), "cut.pkl": whole[: len(whole) // 2], "no.pkl": pickle.dumps([1])}
    for name, written in lacking.items():
        (tmp_path / name).write_bytes(written)
        with pytest.raises(UserError, match=f"{name}.*lacks" if name == "lacking.pkl" else name):
            weights.read_weights(configured(C4, sets, tmp_path / name), tmp_path)
    with pytest.raises(UserError, match="is not a file"):
        weights.read_weights(configured(C4, sets, tmp_path / "absent.pkl"), tmp_path)
    with pytest.raises(UserError, match="holds a resnet18, but the configuration builds a resnet34"):
        weights.read_weights(configured(C4, sets, export, "MODEL.RESNETS.DEPTH=34"), tmp_path)
    with pytest.raises(UserError, match="holds a resnet18, but the configuration builds a resnet34"):
        weights.read_weights(configured(C4, sets, tmp_path / "trunk.pkl", "MODEL.RESNETS.DEPTH=34"), tmp_path)


def test_a_converted_file_and_its_source_are_the_same_trunk(sets, tmp_path, export, trunk):
    """And step 0 means random, whatever the file's form."""
    source = weights.read_weights(configured(C4, sets, export), tmp_path)
    converted = weights.read_weights(configured(C4, sets, tmp_path / "trunk.pkl"), tmp_path)
    assert source.state.keys() == converted.state.keys() and (source.init, converted.init) == ("pretrained",) * 2
    assert all(torch.equal(source.state[name], converted.state[name]) for name in source.state)
    assert converted.meta["step"] == 7
    plain = tmp_path / "torchvision.pth"
    torch.save(trunk.state_dict(), plain)
    assert weights.read_weights(configured(C4, sets, plain), tmp_path).init == "pretrained"
    initial = save_trunk(tmp_path / "initial.pth", trunk, "resnet18", step=0)
    assert weights.read_weights(configured(C4, sets, initial), tmp_path).init == "random"
    assert weights.read_weights(configured(C4, sets, "random"), tmp_path).init == "random"


# evaluation and drawing


@pytest.mark.parametrize("config", [C4, FPN], ids=["voc", "coco"])
def test_perfect_predictions_have_ap_100_and_none_have_0(sets, tmp_path, config):
    cfg = configured(config, sets, "random")
    data = catalog.open_datasets(cfg, tmp_path)
    records = data.readings[data.test].records
    kinds = {"bbox", "segm"} if config == FPN else {"bbox"}
    for silent, expected in ((False, 100), (True, 0)):
        metrics = measure.measure_split(cfg, Oracle(records, NAMES, silent), data.test, tmp_path / str(silent)).metrics
        assert set(metrics) == {f"{kind}_{metric}" for kind in kinds for metric in ("AP", "AP50", "AP75")}
        assert all(value == pytest.approx(expected) for value in metrics.values()), metrics


def test_the_voc_evaluator_agrees_on_perfect_predictions(sets, tmp_path):
    cfg = configured(C4, sets, "random", "DATASETS.EVALUATOR=voc")
    data = catalog.open_datasets(cfg, tmp_path)
    oracle = Oracle(data.readings[data.test].records, NAMES)
    measured = measure.measure_split(cfg, oracle, data.test, tmp_path)
    assert measured.metrics == pytest.approx({"bbox_AP": 100, "bbox_AP50": 100, "bbox_AP75": 100})
    assert set(measured.by_class["bbox"]) <= set(NAMES) and set(measured.by_class["bbox"].values()) == {100.0}
    assert measured.curves["bbox"]["0.50"] == [100.0] * 21  # COCO's, of the same predictions


def test_predictions_are_drawn_beside_the_ground_truth(sets, tmp_path):
    cfg = configured(FPN, sets, "random")
    data = catalog.open_datasets(cfg, tmp_path)
    records = data.readings[data.test].records
    for silent in (False, True):
        written = instances.draw_detections(
            cfg, Oracle(records, NAMES, silent), records, data.classes, 2, tmp_path / str(silent)
        )
        assert [path.stem for path in written] == [f"{500_001:06d}", f"{500_003:06d}"]  # evenly spread: first and last
        for path in written:
            picture = np.asarray(Image.open(path)).astype(int)
            left, right = (
                picture[instances.TITLE :, : instances.SIDE],
                picture[instances.TITLE :, instances.SIDE + instances.GAP :],
            )
            assert left.shape == right.shape == (instances.SIDE, instances.SIDE, 3)
            drawn = np.abs(left - right).max(axis=2) > 0
            assert drawn.mean() > 0.05 if silent else drawn.mean() < 0.05  # the labels differ by the score only


# whole runs


@pytest.fixture(scope="module")
def run(sets, export, tmp_path_factory):
    """One run of each family, from a trunk, shared by the tests that look at it."""
    ran = {}

    def of(config):
        if config not in ran:
            out = tmp_path_factory.mktemp("run") / "out"
            ran[config] = out, train.train_detector(load.load_config(config, tiny(config, sets, export)), out, drawn=1)
        return ran[config]

    return of


@pytest.mark.parametrize("config", [C4, FPN], ids=["c4", "fpn"])
def test_a_run_trains_evaluates_draws_and_says_where_it_began(run, export, config):
    out, result = run(config)
    written = results.load(out / "result.json")
    assert written == result
    assert written.task == ("detection" if config == C4 else "segmentation")
    assert (written.init, written.arch, written.seed) == ("pretrained", "resnet18", 0)
    assert written.pretraining["step"] == 7 and written.checkpoint == str(export)
    assert written.counts["train"] == 4 and written.counts["val"] == 3 and written.counts["classes"] == 2
    assert all(0 <= value <= 100 for value in written.metrics.values())
    assert len(written.artefacts["images"]) == 1 and (out / written.artefacts["images"][0]).is_file()
    assert "2 iterations of 2 images" in written.protocol
    final = torch.load(out / "model_final.pth", weights_only=True)["model"]
    home = "backbone.bottom_up." if config == FPN else "backbone."
    start = read_trunk(export).state["conv1.weight"]
    assert not torch.equal(final[f"{home}stem.conv1.weight"], start)  # FREEZE_AT 0: the stem learns as well
    assert torch.isfinite(final[f"{home}stem.conv1.weight"]).all()


def losses(out):
    lines = [json.loads(line) for line in (out / "metrics.json").read_text().splitlines()]
    return [(line["iteration"], line["total_loss"]) for line in lines if "total_loss" in line]


def test_a_run_is_repeated_by_its_seed(run, sets, export, tmp_path):
    out, result = run(FPN)
    again = train.train_detector(load.load_config(FPN, tiny(FPN, sets, export)), tmp_path / "again", drawn=0)
    other = train.train_detector(load.load_config(FPN, tiny(FPN, sets, export, "SEED=1")), tmp_path / "other", drawn=0)
    assert losses(out) == losses(tmp_path / "again") != losses(tmp_path / "other")
    assert result.metrics == again.metrics and other.seed == 1


def test_a_signal_leaves_a_checkpoint_from_which_the_run_goes_on(sets, export, tmp_path):
    out, long = tmp_path / "run", [*tiny(C4, sets, export, "SOLVER.MAX_ITER=500", "SOLVER.CHECKPOINT_PERIOD=2")]
    command = [sys.executable, str(ROOT / "tools/train_detection.py"), "--config", str(C4), "--out", str(out), *long]
    with tool_process.started(command) as tool:
        while tool.process.is_alive() and not (out / "last_checkpoint").is_file():
            time.sleep(0.05)
        os.kill(tool.pid, signal.SIGUSR2)
        done = tool.end(120)
    assert done.returncode == 75, done.stdout
    iteration = int((out / "last_checkpoint").read_text().removeprefix("model_").removesuffix(".pth"))
    assert f"stopped after iteration {iteration + 1} of 500: --resume" in done.stdout
    kept = torch.load(out / f"model_{iteration:07d}.pth", weights_only=True)
    assert kept["iteration"] == iteration and kept["trainer"]["optimizer"]["state"]
    on = load.load_config(C4, tiny(C4, sets, export, f"SOLVER.MAX_ITER={iteration + 2}"))
    train.train_detector(on, out, resume=True, drawn=0)
    assert torch.load(out / "model_final.pth", weights_only=True)["iteration"] == iteration + 1


def test_a_run_goes_on_only_when_asked_and_only_with_what_it_began_with(sets, export, trunk, tmp_path):
    out, longer = tmp_path / "run", "SOLVER.MAX_ITER=3"
    train.train_detector(load.load_config(C4, tiny(C4, sets, export)), out, drawn=0)
    with pytest.raises(UserError, match="already holds a training: go on with --resume"):
        train.train_detector(load.load_config(C4, tiny(C4, sets, export, longer)), out, drawn=0)
    with pytest.raises(UserError, match="was begun with another init, sha256"):
        train.train_detector(load.load_config(C4, tiny(C4, sets, "random", longer)), out, resume=True, drawn=0)
    with pytest.raises(UserError, match="was begun with another images_per_step"):
        more = tiny(C4, sets, export, longer, "SOLVER.IMS_PER_BATCH=4")
        train.train_detector(load.load_config(C4, more), out, resume=True, drawn=0)
    first = torch.load(out / "model_final.pth", weights_only=True)
    assert first["iteration"] == 1
    train.train_detector(load.load_config(C4, tiny(C4, sets, export, longer)), out, resume=True, drawn=0)
    second = torch.load(out / "model_final.pth", weights_only=True)
    assert second["iteration"] == 2
    counter = "roi_heads.res5.norm.num_batches_tracked"
    assert second["model"][counter] > first["model"][counter]
    momenta = [state["momentum_buffer"] for state in second["trainer"]["optimizer"]["state"].values()]
    assert momenta and all(torch.isfinite(momentum).all() for momentum in momenta)


def test_bad_input_stops_before_the_first_iteration_and_leaves_no_result(sets, export, tmp_path):
    for override in ("DATASETS.CLASSES=('a','b')", "MODEL.RESNETS.DEPTH=34", "DATASETS.ROOT=/nowhere"):
        with pytest.raises(UserError):
            train.train_detector(load.load_config(C4, tiny(C4, sets, export, override)), tmp_path, drawn=0)
    assert not (tmp_path / "result.json").exists() and not (tmp_path / "metrics.json").exists()


def test_two_ranks_train_one_detector(sets, export, tmp_path):
    out = tmp_path / "run"
    tool = [sys.executable, ROOT / "tools" / "train_detection.py", "--config", C4, "--out", out, "--visualise", "0"]
    ranks = two_ranks.tools(*[([*tool, *tiny(C4, sets, export)], {})] * 2)
    assert [rank.returncode for rank in ranks] == [0, 0], [rank.stderr[-3000:] for rank in ranks]
    result = results.load(out / "result.json")
    assert result.settings["processes"] == 2 and result.settings["norm"] == "naiveSyncBN"
    assert [rank.stdout.count("result: ") for rank in ranks] == [1, 0]
    assert torch.load(out / "model_final.pth", weights_only=True)["iteration"] == 1
