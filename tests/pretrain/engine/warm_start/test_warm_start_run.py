"""Runs that start from weights: what they take, how their trunk learns, what they say of it, and how they go on."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from helpers.checkpoint_files import uneven
from helpers.tiny_runs import ARCH, assert_same, assert_same_run, configure, fixed_batch, last_checkpoint, write_images
from helpers.two_ranks import both
from pretrain import methods
from pretrain.augment.multicrop import Batch
from pretrain.engine.learner import build, untrained
from pretrain.engine.warm_start import origin
from pretrain.models.batchnorm import ViewBatchNorm
from pretrain.models.siamese import Siamese
from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError
from pretrain.step import step
from pretrain.train import train
from pretrain.weights.read_trunk import read_trunk

CPU = torch.device("cpu")
SHORT = ["optim.epochs=1", "optim.warmup_epochs=0"]
KEPT = {  # what the state of a method is called where it has one
    "unigrad": ["F"],
    "directpred": ["F"],
    "moco": ["queue"],
    "byol": ["predictor"],
    "simclr": [],
}
SMALL = {"moco": ["method.queue_size=32"], "byol": ["method.hidden=8"], "simsiam": ["method.hidden=8"]}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def first(images, tmp_path_factory):
    """A run of two steps at random weights, whose checkpoint others start from."""
    run = tmp_path_factory.mktemp("runs") / "first"
    train(configure(images, run, *SHORT))
    yield run
    shutil.rmtree(run)


def one_step(name, *overrides, init=None):
    """A learner after a step."""
    cfg = configure("images", "run", f"method.name={name}", *SMALL.get(name, []), *overrides)
    learner = build(cfg, CPU, origin=init)
    step(learner, Batch((fixed_batch(),), None, []), 0, 4)
    return learner


def as_origin(learner):
    """What a checkpoint of this learner holds."""
    model = learner.model.state_dict()
    parts = [*(origin.below(model, name) for name in ("online", "target")), learner.form.state_dict()]
    return origin.Origin(Path("a.pth"), "0" * 64, "unigrad-checkpoint", "", ARCH, *parts)


@pytest.mark.parametrize("name", KEPT)
def test_the_same_method_takes_everything_bit_for_bit(name):
    before = one_step(name)
    after = build(
        configure("images", "run", f"method.name={name}", *SMALL.get(name, [])), CPU, origin=as_origin(before)
    )
    assert after.start["took"] == ["trunk", "projector", "target", *KEPT[name]] and after.start["anew"] == []
    assert_same(after.model.state_dict(), before.model.state_dict())
    assert_same(dict(after.form.state_dict()), dict(before.form.state_dict()))
    assert not after.optimizer.state_dict()["state"]


@pytest.mark.parametrize(
    ("before", "after", "overrides", "took", "anew"),
    [
        ("unigrad", "directpred", [], ["trunk", "projector", "target", "F"], []),
        ("directpred", "unigrad", [], ["trunk", "projector", "target", "F"], []),
        ("unigrad", "byol", [], ["trunk", "projector", "target"], ["predictor"]),
        ("byol", "simsiam", [], ["trunk", "projector", "target", "predictor"], []),
        ("byol", "byol", ["method.hidden=4"], ["trunk", "projector", "target"], ["predictor"]),
        ("moco", "moco", ["method.queue_size=48"], ["trunk", "projector", "target"], ["queue"]),
        ("unigrad", "unigrad", ["model.projector_width=8"], ["trunk", "target"], ["projector", "F"]),
        ("unigrad", "barlow_twins", [], ["trunk", "projector", "target"], []),
    ],
)
def test_another_configuration_takes_what_fits_and_says_what_starts_anew(before, after, overrides, took, anew):
    source = one_step(before)
    cfg = configure("images", "run", f"method.name={after}", *SMALL.get(after, []), *overrides)
    learner = build(cfg, CPU, origin=as_origin(source))
    assert (learner.start["took"], learner.start["anew"]) == (took, anew)
    assert_same(learner.model.target.trunk.state_dict(), source.model.target.trunk.state_dict())
    random, _ = untrained(cfg)
    taken = source.model.online if "projector" in took else random.online
    assert_same(learner.model.online.projector.state_dict(), taken.projector.state_dict())
    if "projector" not in took:  # the target's is a copy of the online one, not of another random draw
        assert_same(learner.model.target.projector.state_dict(), learner.model.online.projector.state_dict())
    step(learner, Batch((fixed_batch(),), None, []), 0, 4)  # and it can be trained


@pytest.mark.slow
def test_a_run_from_a_run_is_step_0_of_its_own_schedule_and_says_where_it_comes_from(images, first, tmp_path, capsys):
    train(configure(images, tmp_path / "second", *SHORT, f"model.init={first}", "model.freeze_stages=5"))
    told = capsys.readouterr().out
    assert f"starting from {first}/checkpoints/step_00000002.pth (unigrad-checkpoint, sha256 " in told
    assert ": took trunk, projector, target, F; step 0, own schedule" in told
    made, source = last_checkpoint(tmp_path / "second"), last_checkpoint(first)
    assert made["step"] == 2 and made["init"]["took"] == ["trunk", "projector", "target", "F"]
    assert made["init"] == json.loads((tmp_path / "second" / "init.json").read_text())
    trunk = {name: one for name, one in made["model"].items() if name.startswith("online.trunk.")}
    assert_same(trunk, {name: source["model"][name] for name in trunk})  # all five stages are frozen
    assert not torch.equal(made["model"]["online.projector.0.weight"], source["model"]["online.projector.0.weight"])
    export = tmp_path / "second" / "export"
    for name, number in (("initial.pth", 0), ("trunk.pth", 2)):
        meta = read_trunk(export / name).meta
        assert meta["init_sha256"] == made["init"]["sha256"] and meta["step"] == number
        assert meta["init_layout"] == "unigrad-checkpoint" and meta["init_file"].endswith("step_00000002.pth")
    assert_same(read_trunk(export / "initial.pth").state, read_trunk(first / "export" / "trunk.pth").state)
    assert_same(read_trunk(export / "random.pth").state, read_trunk(first / "export" / "initial.pth").state)
    assert "init_file" not in read_trunk(export / "random.pth").meta
    assert read_trunk(next((tmp_path / "second" / "checkpoints").iterdir())).meta["init_sha256"] == meta["init_sha256"]


@pytest.mark.slow
def test_a_run_that_was_queued_again_goes_on_bit_for_bit_without_its_file(images, first, tmp_path, capsys):
    shutil.copytree(first, tmp_path / "source")
    words = ["optim.epochs=2", "optim.warmup_epochs=0", "run.checkpoint_every_epochs=0.5", "run.keep_checkpoints=9"]
    words += ["model.init_warmup_epochs=0.5", "model.init_trunk_lr=0.1", "model.freeze_stages=2"]
    own = [*words, f"model.init={tmp_path / 'source'}"]
    train(configure(images, tmp_path / "whole", *own))
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    for number in (2, 3, 4):  # back to the end of the trunk's waiting
        (tmp_path / "again" / "checkpoints" / f"step_{number:08d}.pth").unlink()
    shutil.rmtree(tmp_path / "source")
    capsys.readouterr()
    train(configure(images, tmp_path / "again", *own))
    assert "resumed from" in (told := capsys.readouterr().out) and "starting from" not in told
    assert_same_run(tmp_path / "whole", tmp_path / "again")
    assert last_checkpoint(tmp_path / "again")["init"] == last_checkpoint(tmp_path / "whole")["init"]
    assert "init_sha256" in read_trunk(tmp_path / "again" / "export" / "trunk.pth").meta
    with pytest.raises(UserError, match="was trained with model.init=.* cannot change on the way: choose another run"):
        train(configure(images, tmp_path / "again", *words, f"model.init={first}"))


def test_without_init_nothing_changes_to_the_last_bit():
    """Against the network as it is drawn, and the groups as they are made, without this room."""
    cfg = configure("images", "run")
    learner = build(cfg, CPU)
    torch.manual_seed(0)
    methods.build("unigrad", width=16, balance=cfg.method.balance, rho=0.99)
    plain = Siamese(ARCH, True, 2, 16, normalisation="l2")
    assert_same(learner.model.state_dict(), plain.state_dict())
    groups = learner.optimizer.param_groups
    assert [group["lr_share"] for group in groups] == [1.0, 1.0]
    names = [name for name, one in learner.model.online.named_parameters() if one.ndim > 1]
    assert len(groups[0]["params"]) == len(names)
    assert learner.start == {} and learner.trunk_waits == 0
    assert all(parameter.requires_grad for parameter in learner.model.online.parameters())


@pytest.fixture(scope="module")
def source():
    """A learner of UniGrad after a step, for others to start from."""
    return one_step("unigrad")


@pytest.mark.parametrize("optimiser", ["sgd", "lars"])
def test_the_trunk_learns_at_its_share_of_the_rate(source, optimiser):
    words = [f"optim.optimiser={optimiser}", "optim.momentum=0", "optim.weight_decay=0", "optim.warmup_epochs=0"]
    whole, tenth = (
        one_step("unigrad", *words, "model.init=x", f"model.init_trunk_lr={share}", init=as_origin(source))
        for share in (1, 0.1)
    )
    for part, share in (("trunk", 0.1), ("projector", 1.0)):
        start = getattr(source.model.online, part).state_dict()
        for name, _ in getattr(whole.model.online, part).named_parameters():
            moved, own = (getattr(one.model.online, part).state_dict()[name] - start[name] for one in (whole, tenth))
            torch.testing.assert_close(own, share * moved, rtol=1e-3, atol=1e-7)
    assert not torch.equal(whole.model.online.trunk.conv1[0].weight, source.model.online.trunk.conv1[0].weight)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_trunk_waits_while_projector_and_predictor_learn(source, accumulate):
    words = ["model.init=x", "optim.epochs=4", "optim.warmup_epochs=0", "model.init_warmup_epochs=1", *SMALL["byol"]]
    cfg = configure("images", "run", "method.name=byol", *words, f"optim.accumulate={accumulate}")
    learner = build(cfg, CPU, origin=as_origin(source))
    first = {name: value.clone() for name, value in learner.model.online.named_parameters()}
    predictor = learner.form.predictor[0].weight.clone()
    step(learner, Batch((fixed_batch(),), None, []), 1, 8)  # an eighth of the run, of which a quarter is the warm-up
    after = dict(learner.model.online.named_parameters())
    assert all(torch.equal(after[name], one) for name, one in first.items() if name.startswith("trunk."))
    assert not torch.equal(after["projector.0.weight"], first["projector.0.weight"])
    assert not torch.equal(learner.form.predictor[0].weight, predictor)
    assert not any(parameter in learner.optimizer.state for parameter in learner.model.online.trunk.parameters())
    step(learner, Batch((fixed_batch(),), None, []), 2, 8)
    assert not torch.equal(learner.model.online.trunk.conv1[0].weight, first["trunk.conv1.0.weight"])


STAGES = ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4"]


@pytest.mark.parametrize(("count", "frozen"), [(0, 0), (1, 2), (2, 3), (5, 6)])
def test_frozen_stages_keep_weights_and_statistics_in_both_branches(source, count, frozen):
    words = ["model.init=x", f"model.freeze_stages={count}", "optim.warmup_epochs=0"]
    learner = build(configure("images", "run", *words), CPU, origin=as_origin(source))
    before = {name: one.clone() for name, one in learner.model.state_dict().items()}
    learner.model.train()  # as whoever evaluates between two steps does
    for done in range(2):
        step(learner, Batch((fixed_batch(),), None, []), done, 4)
    after = learner.model.state_dict()
    for branch in ("online", "target"):
        for place, stage in enumerate(STAGES):
            own = {name for name in before if name.startswith(f"{branch}.trunk.{stage}.")}
            assert all(torch.equal(after[name], before[name]) for name in own) == (place < frozen), (branch, stage)
    ungraded = {name.split(".")[1] for name, one in learner.model.online.named_parameters() if one.grad is None}
    assert ungraded == set(STAGES[:frozen])
    parts = [getattr(learner.model.online.trunk, stage) for stage in STAGES[:frozen]]
    assert not any(one.training for part in parts for one in part.modules() if isinstance(one, ViewBatchNorm))
    for stage in STAGES[:frozen]:
        assert_same(*(origin.below(after, f"{branch}.trunk.{stage}") for branch in ("online", "target")))


def _two_steps(rank, world_size=2):
    """The network before and after two float64 steps on this rank's share of fixed images, and the rates of groups."""
    torch.set_default_dtype(torch.float64)
    words = ["model.init=x", "model.freeze_stages=2", "model.init_trunk_lr=0.1", "model.init_warmup_epochs=1"]
    cfg = configure("images", "run", *words, "optim.epochs=4", "optim.warmup_epochs=0")
    given = build(configure("images", "run"), CPU)
    uneven(given.model.online, 3)
    distributed.start(CPU)
    learner = build(cfg, CPU, origin=as_origin(given))
    learner.dtype = torch.float64
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    for done in (1, 2):  # the trunk waits in the first of them
        step(learner, Batch((fixed_batch()[:, rank::world_size],), None, []), done, 8)
    torch.set_default_dtype(torch.float32)
    return before, dict(learner.model.state_dict()), [group["lr_share"] for group in learner.optimizer.param_groups]


@pytest.mark.slow
def test_two_ranks_with_frozen_stages_and_a_slow_trunk_equal_one_process(tmp_path):
    before, alone, shares = _two_steps(0, 1)
    for _, state, groups in both(_two_steps, tmp_path):
        assert groups == shares == [1.0, 1.0, 0.1, 0.1]
        for name, tensor in alone.items():
            torch.testing.assert_close(state[name], tensor, rtol=1e-9, atol=1e-12, msg=name)
    trunk = {name: tensor for name, tensor in alone.items() if name.startswith("online.trunk.")}
    same = {name for name, tensor in trunk.items() if torch.equal(tensor, before[name])}
    assert {name.split(".")[2] for name in same if name.endswith("weight")} == {"conv1", "bn1", "layer1"}
