"""Trunks of timm: norms with statistics of each view, pretraining, and the way to evaluation and to other libraries."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import nn

from helpers.tiny_runs import TINY, configure, fixed_batch, write_images
from pretrain import load_trunk
from pretrain.augment.multicrop import Batch
from pretrain.config import Config, load
from pretrain.engine.learner import build, fill_balance
from pretrain.engine.peak_memory import StepMemory
from pretrain.engine.validate import ready
from pretrain.methods import ROWS
from pretrain.models.batchnorm import ViewBatchNorm, statistics_of_each
from pretrain.models.trunks import build_trunk, check_trunk, plain_trunk, width_of
from pretrain.runtime.errors import UserError
from pretrain.step import step
from pretrain.train import train
from pretrain.weights.read_trunk import read_trunk
from pretrain.weights.trunk import build_trunk as filled

WITH_NORMS = ("regnetx_002", "mobilenetv3_small_050", "levit_128s", "resnet10t")
WITHOUT = ("convnext_atto", "vit_tiny_patch16_224")


@pytest.mark.parametrize("name", [*WITH_NORMS, *WITHOUT])
def test_a_trunk_of_timm_is_timms_network_but_for_the_statistics_of_each_view(name):
    """In training two views in a batch equal timm's own network on one after the other, running statistics too."""
    torch.manual_seed(0)
    ours, width = build_trunk(f"timm/{name}", channels=3)
    theirs = timm.create_model(name, pretrained=False, num_classes=0)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    side = 224 if name in ("levit_128s", "vit_tiny_patch16_224") else 64
    views = torch.randn(2, 2, 3, side, side, generator=torch.Generator().manual_seed(1))
    ours.train(), theirs.train()
    with torch.no_grad(), statistics_of_each(ours, 2):
        found = ours(views.flatten(0, 1))
        expected = torch.cat([theirs(view) for view in views])
    assert found.shape == (4, width) and width == width_of(f"timm/{name}")
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    for (key, one), other in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, msg=key)
    norms = [one for one in ours.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]
    assert all(isinstance(one, ViewBatchNorm) for one in norms) and bool(norms) == (name in WITH_NORMS)
    ours.eval(), theirs.eval()
    with torch.no_grad():
        torch.testing.assert_close(ours(views[0]), theirs(views[0]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["model.arch=timm/convnext_ato"], r"no network of timm .* \(did you mean timm/convnext_atto\?\)"),
        (["model.arch=timm/hf-hub:timm/convnext_atto"], "is no network of timm"),
        (["model.arch=timm/mixer_s32_224"], "does not take views of 32 pixels .*: it is made for 224"),
        (
            ["model.arch=timm/vit_tiny_patch16_224", "views.local_count=2", "views.local_size=24"],
            "does not take views of 24 pixels",
        ),
        (["model.arch=resnet51"], "did you mean resnet50.* or timm/NAME"),
    ],
)
def test_a_trunk_that_cannot_work_is_refused_before_the_run(words, told):
    with pytest.raises(UserError, match=told):
        ready(load(Config, None, [*TINY, "run_dir=r", "data.root=d", *words]))


def test_features_that_are_not_pooled_are_refused(monkeypatch):
    plain = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *names, **options: plain(*names, **options, global_pool=""))
    with pytest.raises(UserError, match="gives features of shape .*, which are not pooled"):
        check_trunk("timm/resnet10t", 3, [32])


def test_without_timm_a_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(UserError, match="model.arch=timm/convnext_atto needs timm, which is not installed: `pip inst"):
        build_trunk("timm/convnext_atto")


def test_memory_of_a_step_is_reckoned_from_a_network_of_timm():
    memory = StepMemory(load(Config, None, [*TINY, "run_dir=r", "data.root=d", "model.arch=timm/regnetx_002"]))
    assert memory.peak(8, 1).total > memory.peak(4, 1).total > 0


@pytest.mark.parametrize("row", ROWS)
def test_every_row_trains_a_trunk_without_batch_norm(row):
    words = ["model.arch=timm/convnext_atto", "model.projector_norm=none", f"method.name={row}", "optim.base_lr=.01"]
    words += ["optim.optimiser=adamw", "run_dir=r", "data.root=d"] + ["method.queue_size=32"] * (row == "moco")
    learner = build(fill_balance(load(Config, None, [*TINY, *words])), torch.device("cpu"))
    before = learner.model.online.trunk.stem[0].weight.detach().clone()
    for done in (2, 3):
        stepped = step(learner, Batch((fixed_batch(),), None, []), done, 8)
    after = learner.model.online.trunk.stem[0].weight.detach()
    assert all(value.isfinite() for value in stepped.values.values())
    assert after.isfinite().all() and not torch.equal(before, after)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def run_dir(images, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("timm") / "run"
    words = ["model.arch=timm/regnetx_002", "optim.epochs=2", "optim.optimiser=lamb", "optim.base_lr=.01"]
    train(
        configure(
            images,
            run_dir,
            *words,
            "views.local_count=1",
            "views.local_size=16",
            "data.mean=[.1,.2,.3]",
            "data.std=[.4,.4,.4]",
        )
    )
    return run_dir


def test_its_files_are_read_whole_and_go_to_timm_and_safetensors(run_dir, tmp_path):
    from tools.convert import main

    export = run_dir / "export" / "trunk.pth"
    picture = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = load_trunk(export)(picture)
    for file in (export, *(run_dir / "checkpoints").glob("*4.pth")):
        trunk = read_trunk(file)
        assert trunk.arch == "timm/regnetx_002" and trunk.pixels == ((0.1, 0.2, 0.3), (0.4, 0.4, 0.4))
        with torch.no_grad():
            torch.testing.assert_close(filled(trunk)(picture), expected, rtol=1e-5, atol=1e-6)
    for library, name in (("timm", "out.pth"), ("safetensors", "out.safetensors")):
        main([str(export), str(tmp_path / name), "--to", library])
        again = read_trunk(tmp_path / name)
        assert again.arch == "timm/regnetx_002" and again.pixels[0] == (0.1, 0.2, 0.3)
    network = timm.create_model("regnetx_002", num_classes=0, checkpoint_path=str(tmp_path / "out.pth")).eval()
    with torch.no_grad():
        torch.testing.assert_close(network(picture), expected, rtol=1e-5, atol=1e-6)
    network.load_state_dict(load_file(tmp_path / "out.safetensors"), strict=True)


def test_what_has_no_builder_for_it_refuses_it(run_dir, tmp_path):
    from tools.convert import main

    for library, name in (("detectron2", "out.pkl"), ("torchvision", "out.pth"), ("mmdetection", "out.pth")):
        with pytest.raises(UserError, match=f"is a timm/regnetx_002, for which {library} has no builder"):
            main([str(run_dir / "export" / "trunk.pth"), str(tmp_path / name), "--to", library])


def test_a_damaged_file_of_such_a_trunk_is_told(run_dir, tmp_path):
    content = torch.load(run_dir / "export" / "trunk.pth", weights_only=True)
    for change, told in (
        (lambda state: state.pop("stem.conv.weight"), "lacks stem.conv.weight"),
        (lambda state: state.update(more=torch.zeros(1)), "holds beyond the trunk more"),
        (lambda state: state["stem.conv.weight"].add_(1), "stem.conv.weight"),
    ):
        changed = copy.deepcopy(content)
        change(changed["state_dict"])
        torch.save(changed, tmp_path / "changed.pth")
        with pytest.raises(UserError, match=told):
            read_trunk(tmp_path / "changed.pth")
    with pytest.raises(UserError, match="is a timm/regnetx_002, not the resnet50"):
        read_trunk(run_dir / "export" / "trunk.pth", arch="resnet50")


def test_the_plain_network_is_the_librarys_own():
    assert not any(isinstance(one, ViewBatchNorm) for one in plain_trunk("timm/regnetx_002").modules())
    assert plain_trunk("timm/regnetx_002", channels=1)(torch.zeros(2, 1, 32, 32)).shape == (2, 368)
