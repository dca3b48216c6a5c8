"""What model.init reads: any project's trunk in both branches, and one sentence for a file that cannot start a run."""

import io
import shutil

import pytest
import torch

from helpers.checkpoint_files import (
    assert_same_tensors,
    torchvision_network,
    training_checkpoint,
    without_fc,
    write_export,
)
from helpers.public_checkpoints import RECIPES
from helpers.tiny_runs import RESNET18, configure
from pretrain.engine import checkpoint
from pretrain.engine.learner import untrained
from pretrain.engine.validate import ready
from pretrain.engine.warm_start import origin
from pretrain.engine.warm_start.take import take
from pretrain.runtime.errors import UserError
from pretrain.runtime.lock import holder_of, lock_run_folder
from tools import pretrain as tool

NETWORKS = {"online": torchvision_network("resnet18", 0), "target": torchvision_network("resnet18", 1)}
PROJECTS = [  # one of each way of saving; tests/transfer/convert/ reads all of them
    *("moco v2", "dino", "swav", "barlow twins", "solo-learn", "lightly", "vissl", "mmselfsup 1.x", "timm"),
    *("torchvision references", "detectron2, FPN", "transformers"),
]


def started(file, tmp_path, *overrides):
    """A network and a method at random, filled from a file."""
    cfg = configure("images", tmp_path / "run", RESNET18, f"model.init={file}", *overrides)
    found = origin.read(cfg, print)
    model, form = untrained(cfg)
    return model, form, take(found, model, form)


@pytest.mark.parametrize("kind", PROJECTS)
def test_every_projects_file_starts_the_trunks_of_both_branches(tmp_path, kind):
    recipe, layout, branch, _ = RECIPES[kind]
    torch.save(recipe(*NETWORKS.values()), tmp_path / "in.pth")
    model, _, start = started(tmp_path / "in.pth", tmp_path)
    expected = without_fc(NETWORKS[branch].state_dict())
    for side in (model.online, model.target):
        found = side.trunk.state_dict()
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], one) for name, one in expected.items() if not name.endswith("_tracked"))
    assert (start.layout, start.took, start.anew) == (layout, ["trunk"], ["projector", "F"])
    assert torch.equal(model.online.projector[0].weight, model.target.projector[0].weight)


def test_the_other_branch_is_taken_on_request(tmp_path):
    torch.save(RECIPES["moco v2"][0](*NETWORKS.values()), tmp_path / "in.pth")
    model, _, start = started(tmp_path / "in.pth", tmp_path, "model.init_branch=target")
    assert_same_tensors(model.online.trunk.state_dict(), without_fc(NETWORKS["target"].state_dict()))
    assert start.branch == "target"


def test_with_the_files_statistics_its_trunk_is_taken(files, tmp_path):
    words = ["data.mean=[0.5,0.5,0.5]", "data.std=[0.5,0.5,0.5]"]
    assert started(files / "pixels.pth", tmp_path, *words)[2].took == ["trunk"]
    with pytest.raises(UserError, match="than data.mean=auto and"):
        started(files / "pixels.pth", tmp_path, "data.mean=auto", "data.std=auto")
    content, _ = training_checkpoint("resnet18")
    data = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "root": "elsewhere"}
    torch.save({**content, "config": {**content["config"], "data": data}}, files / "run-of-other-pixels.pth")
    with pytest.raises(UserError, match=r"add data.channels=3 data.mean=\[0.5,0.5,0.5\]"):
        started(files / "run-of-other-pixels.pth", tmp_path)
    assert started(files / "run-of-other-pixels.pth", tmp_path, *words)[2].took[0] == "trunk"


def test_a_project_whose_images_were_scaled_otherwise_is_refused(tmp_path):
    torch.save(RECIPES["byol, sthalles"][0](*NETWORKS.values()), tmp_path / "in.pth")  # it has pixels in 0..1
    with pytest.raises(UserError, match=r"add data.channels=3 data.mean=\[0,0,0\] data.std=\[1,1,1\]"):
        started(tmp_path / "in.pth", tmp_path)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files that cannot start a ResNet-18, by what is wrong with them."""
    folder = tmp_path_factory.mktemp("bad")
    state = torchvision_network("resnet18").state_dict()
    torch.save(torchvision_network("resnet34").state_dict(), folder / "resnet34.pth")
    torch.save({**state, "bn1.bias": state["bn1.bias"] * float("nan")}, folder / "nan.pth")
    torch.save({"state_dict": state, "args": {"color_order": "BGR"}}, folder / "bgr.pth")
    torch.save({"model": {"roi_heads.box.fc1.weight": torch.ones(2, 2)}}, folder / "no-trunk.pth")
    torch.save({"model": state, "__author__": "Detectron2 Model Zoo"}, folder / "zoo.pth")
    torch.save({"state_dict": state, "args": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}}, folder / "pixels.pth")
    torch.save({"net": {f"encoder.{name}": tensor for name, tensor in state.items()}}, folder / "unknown.pth")
    (folder / "text.pth").write_text("no checkpoint")
    (folder / "cut.pth").write_bytes((folder / "nan.pth").read_bytes()[:100_000])
    content, _ = training_checkpoint("resnet18")
    broken = {**content["model"], "target.projector.3.bias": content["model"]["target.projector.3.bias"] * float("inf")}
    torch.save({**content, "model": broken}, folder / "diverged.pth")
    torch.save({**content, "config": {}}, folder / "no-config.pth")
    torch.save({**content, "model": {}}, folder / "no-model.pth")
    other = {**content, "config": {"model": {"arch": "resnet34"}}}
    torch.save(other, folder / "run-of-resnet34.pth")
    (folder / "empty-run").mkdir()
    (folder / "exported" / "export").mkdir(parents=True)
    write_export(folder / "exported" / "export" / "trunk.pth", "resnet18")
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet34.pth", "is a resnet34, but model.arch=resnet18: set model.arch to it"),
        ("run-of-resnet34.pth", "is a resnet34, but model.arch=resnet18"),
        ("nan.pth", "values that are not finite in bn1.bias"),
        ("diverged.pth", "not finite in target.projector.3.bias: its run had broken down; give an earlier checkpoint"),
        ("bgr.pth", "images in the order BGR"),
        ("zoo.pth", "the author Detectron2 Model Zoo, whose networks take BGR"),
        ("pixels.pth", r"add data.channels=3 data.mean=\[0.5,0.5,0.5\] data.std=\[0.5,0.5,0.5\]"),
        ("no-trunk.pth", "no-trunk.pth"),
        ("unknown.pth", "add --prefix .*; model.init takes no such option: `python tools/convert.py"),
        ("text.pth", "its first bytes are no checkpoint's"),
        ("cut.pth", "truncated, damaged"),
        ("no-config.pth", "a checkpoint of ours without its parts"),
        ("no-model.pth", "does not hold the whole trunk of a resnet18"),
        ("missing.pth", "does not exist: give a checkpoint, or the folder of a run"),
        ("empty-run", "a folder without checkpoints/step_XXXXXXXX.pth: give a checkpoint"),
        ("exported", "a folder without checkpoints/.*exported/export/trunk.pth starts from its trunk"),
    ],
)
def test_a_file_that_cannot_start_the_run_is_one_sentence(files, tmp_path, name, words):
    with pytest.raises(UserError, match=words) as refused:
        started(files / name, tmp_path)
    assert "\n" not in str(refused.value) and str(refused.value).endswith(".")


def test_the_tool_refuses_before_it_looks_at_an_image_and_writes_nothing(files, tmp_path, capsys):
    """The images do not even exist; the run folder neither."""
    words = ["model.arch=resnet18", f"model.init={files / 'nan.pth'}", "data.root=nowhere", f"run_dir={tmp_path / 'r'}"]
    with pytest.raises(UserError, match="not finite"):
        tool.main([*words, "run.device=cpu"])
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("below", ["", "checkpoints/step_00000007.pth", "export/trunk.pth"])
def test_weights_of_a_run_in_progress_are_refused_until_it_ends(tmp_path, below):
    run, content = tmp_path / "other", training_checkpoint("resnet18")[0]
    for folder in ("checkpoints", "export"):
        (run / folder).mkdir(parents=True)
    torch.save(content, checkpoint.path_of(run, 7))
    write_export(run / "export" / "trunk.pth", "resnet18")
    with lock_run_folder(run, print):
        assert holder_of(run / ".lock").pid
        with pytest.raises(UserError, match=r"of a run in progress \(process \d+ on .*wait for its end, or copy"):
            started(run / below, tmp_path)
    assert holder_of(run / ".lock") is None
    assert started(run / below, tmp_path)[2].took[0] == "trunk"


def test_a_run_cannot_start_from_its_own_folder(tmp_path):
    (tmp_path / "run" / "export").mkdir(parents=True)
    write_export(tmp_path / "run" / "export" / "trunk.pth", "resnet18")
    for file in (tmp_path / "run", tmp_path / "run" / "export" / "trunk.pth"):
        with pytest.raises(UserError, match="of run_dir itself, which this run would write over"):
            started(file, tmp_path)


def test_a_folder_starts_from_its_newest_checkpoint_that_can_be_read(tmp_path):
    run, told = tmp_path / "other", io.StringIO()
    (run / "checkpoints").mkdir(parents=True)
    torch.save(training_checkpoint("resnet18")[0], checkpoint.path_of(run, 7))
    checkpoint.path_of(run, 9).write_bytes(b"cut")
    cfg = configure("images", tmp_path / "run", RESNET18, f"model.init={run}")
    found = origin.read(cfg, lambda line: print(line, file=told))
    assert found.path == checkpoint.path_of(run, 7) and "passed over a checkpoint" in told.getvalue()


@pytest.mark.parametrize(
    "words",
    ["model.freeze_stages=1", "model.init_trunk_lr=0.5", "model.init_warmup_epochs=1", "model.init_branch=online"],
)
def test_ways_of_learning_on_need_weights(tmp_path, words):
    with pytest.raises(UserError, match=f"{words.partition('=')[0]}=.* give model.init=FILE, too"):
        ready(configure("images", tmp_path, words))


def test_a_trunk_that_would_never_learn_is_refused(tmp_path):
    with pytest.raises(UserError, match="must be below optim.epochs=3, or the trunk would never learn"):
        ready(configure("images", tmp_path, "model.init=x.pth", "model.init_warmup_epochs=3"))
