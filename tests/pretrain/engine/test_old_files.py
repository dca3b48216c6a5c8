"""Files that earlier code wrote still load: a training checkpoint, an export, and what lies in a run folder.

tests/data/README.md says how they were made. Their tensors are constants, so that they compress: the number of a
tensor among the floating ones of its dictionary, from 1 on, over 1024.
"""

import lzma
import shutil

import pytest
import torch
import torchvision

import pretrain
from helpers.repository import ROOT
from pretrain.config import Config, load
from pretrain.data.loader import StepSampler
from pretrain.engine import learner, resume
from pretrain.engine.monitor.metrics_file import last_line
from pretrain.engine.position import Position, position_in
from pretrain.weights.read_trunk import read_trunk
from tools.launcher import job_record

OLD = ROOT / "tests" / "data" / "old_run"
STEPS_TIMES_VIEWS = 8  # what every counter of batch norm held after the run's 4 steps


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """The run folder with its checkpoint and export unpacked."""
    folder = tmp_path_factory.mktemp("old") / "run"
    shutil.copytree(OLD, folder)
    for packed in folder.rglob("*.xz"):
        packed.with_suffix("").write_bytes(lzma.decompress(packed.read_bytes()))
    yield folder
    shutil.rmtree(folder)


def expected_trunk(first):
    """Constants of a trunk whose first floating tensor has the number `first`, in torchvision's order."""
    state = torchvision.models.resnet18(weights=None).state_dict()
    shapes = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    floating = [name for name, tensor in shapes.items() if tensor.is_floating_point()]
    constants = {name: torch.full_like(shapes[name], (first + n) / 1024) for n, name in enumerate(floating)}
    counters = {name: torch.tensor(STEPS_TIMES_VIEWS) for name in shapes if name not in constants}
    return constants | counters


def assert_state(state, expected):
    assert set(state) == set(expected)
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())


@pytest.mark.slow
@pytest.mark.parametrize(("branch", "first"), [("online", 1), ("target", 108)])
def test_both_branches_of_an_old_checkpoint_convert(run_dir, branch, first):
    trunk = read_trunk(run_dir / "checkpoints" / "step_00000004.pth", branch)
    assert (trunk.layout, trunk.arch) == ("unigrad-checkpoint", "resnet18")
    assert trunk.meta == {"step": 4, "method": "unigrad", "seed": 0, "images_seen": 32, "branch": branch}
    assert_state(trunk.state, expected_trunk(first))


def test_an_old_export_loads(run_dir):
    path = run_dir / "export" / "trunk.pth"
    assert_state(pretrain.load_trunk(path).state_dict(), expected_trunk(1))
    trunk = read_trunk(path)
    assert trunk.layout == "unigrad-export" and trunk.pixels == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert trunk.meta["step"] == 4 and trunk.meta["method"] == "unigrad"


@pytest.mark.slow
def test_an_old_run_goes_on_from_its_checkpoint_under_its_own_configuration(run_dir):
    config = load(Config, run_dir / "config.yaml")
    assert (config.optim.epochs, config.optim.base_lr, config.method.balance) == (2, 1.5, 0.8)
    assert (config.model.projector_width, config.views.size, config.run.precision) == (16, 32, "fp32")
    config.run_dir = str(run_dir)
    built, said = learner.build(config, torch.device("cpu")), []
    resumed = resume.resume(run_dir, built.parts(), ["monitor"], config, said.append)
    assert resumed.state["step"] == 4 and resumed.changes == []
    assert said == [f"resumed from {run_dir / 'checkpoints' / 'step_00000004.pth'}"]
    images = 20  # fewer than three batches of 8: the run had two steps an epoch
    position = position_in(resumed.state, run_dir, StepSampler(images, 8, 3, seed=0))
    assert position == Position(step=4, epoch=2, images=0, seen=32, size=images, batch=8)
    assert_state(built.model.online.trunk.state_dict(), expected_trunk(1))
    assert_state(built.model.target.trunk.state_dict(), expected_trunk(108))
    momenta = [entry["momentum_buffer"] for entry in built.optimizer.state_dict()["state"].values()]
    assert [momentum.unique().tolist() for momentum in momenta[:2]] == [[1 / 1024], [2 / 1024]]


def test_what_an_old_run_logged_is_read(run_dir):
    newest = last_line(run_dir)
    assert (newest["step"], newest["steps"], newest["batch_size"]) == (4, 4, 8)
    assert newest["effective_rank"] == 11.395756496717787


def test_an_old_job_record_is_read(run_dir):
    record = job_record.read_record(run_dir)
    assert (record.job_id, record.launch.cluster, record.launch.tool) == ("18663", "local", "pretrain")
    assert (record.host, record.submitted, record.cancelled) == ("machine", "2026-11-25T19:57:41+0000", False)
    assert record.launch.request.minutes == 4320 and record.log(0).name == "18663_0_log.out"
