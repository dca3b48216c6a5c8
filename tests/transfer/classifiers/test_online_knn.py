"""transfer.classifiers.online_knn: k-NN accuracy during pretraining equals its parts and leaves the run as it was."""

from __future__ import annotations

import copy
import json

import pytest
import torch

from helpers.painted import paint, paint_both
from pretrain.config import Config, load
from pretrain.data.sources import open_source
from pretrain.models.trunks import build_trunk
from pretrain.runtime.errors import UserError
from tools import pretrain
from transfer.classifiers import knn, online_knn
from transfer.datasets import labelled
from transfer.datasets.labelled import open_labelled
from transfer.features.extract import extract


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return paint_both(tmp_path_factory.mktemp("place"), train=9, val=5)


@pytest.fixture
def trunk():
    torch.manual_seed(0)
    return build_trunk("resnet18")[0].train()


def configured(root, *more):
    paths = [f"data.root={root / 'train'}", f"data.val={root / 'val'}", "views.size=16", "data.workers=0"]
    return load(Config, None, [*paths, *more])


def test_the_probe_is_the_evaluations_k_20(root, trunk, capsys):
    measured = online_knn.build_probe(configured(root))(trunk)
    assert capsys.readouterr() == ("", "")
    data, cpu = open_labelled(root), torch.device("cpu")
    pair = [extract(trunk, source, 16, 18, 7, 0, cpu) for source in (data.train, data.val)]
    assert measured == {"knn_top1": pytest.approx(knn.knn_accuracy(*pair, 3, cpu)["top1 k=20 T=0.07"])}


@pytest.mark.slow
def test_the_trunk_and_the_random_state_are_left_as_found(root, trunk):
    before, random = copy.deepcopy(trunk.state_dict()), torch.get_rng_state()
    online_knn.build_probe(configured(root))(trunk)
    assert all(torch.equal(before[name], tensor) for name, tensor in trunk.state_dict().items())
    assert torch.equal(random, torch.get_rng_state()) and all(module.training for module in trunk.modules())
    trunk(torch.randn(2, 3, 16, 16)).sum().backward()  # no tensor of the network has become one of inference


def test_thinning_keeps_the_classes_and_their_order(root):
    source = open_source(root / "train")
    thin = labelled.thinned(source, 10)
    assert len(thin) == 10 and sorted(thin.labels.count(label) for label in range(3)) == [3, 3, 4]
    assert list(thin.paths) == sorted(thin.paths) and set(thin.paths) <= set(source.paths)
    assert all(path.parent.name == thin.classes[label] for path, label in zip(thin.paths, thin.labels, strict=True))
    assert labelled.thinned(source, 27) == source


def test_an_unreadable_image_is_named_once(root, trunk, tmp_path, capsys):
    paint(tmp_path / "val", 2)
    (tmp_path / "val/n01_red/broken.png").write_bytes(b"")
    measure = online_knn.build_probe(configured(root, f"data.val={tmp_path / 'val'}"))
    first, second = measure(trunk), measure(trunk)
    assert first == second and capsys.readouterr().err.count("broken.png") == 1


@pytest.mark.slow
def test_a_run_with_data_val_writes_the_reading_and_trains_the_same(root, tmp_path):
    small = [
        "model.arch=timm/test_resnet",
        "model.projector_width=8",
        "optim.batch_size=27",
        "optim.epochs=2",
        "views.size=16",
    ]
    small += ["optim.warmup_epochs=0", "data.workers=0", "run.device=cpu", "run.precision=fp32", "run.threads=1"]
    small += [f"data.root={root / 'train'}", "run.stop_on_collapse=false"]
    for name, more in (("with", [f"data.val={root / 'val'}"]), ("without", [])):
        pretrain.main([*small, *more, f"run_dir={tmp_path / name}"])
    written = [json.loads(line) for line in (tmp_path / "with/metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in written if "knn_top1" in line] == [1, 2]
    states = [torch.load(tmp_path / name / "export/trunk.pth")["state_dict"] for name in ("with", "without")]
    assert all(torch.equal(tensor, states[1][key]) for key, tensor in states[0].items())


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["data.val=absent"], "absent does not exist: give class folders in data.val"),
        (["data.val={root}/train/n01_red"], "n01_red is a flat folder without labels"),
        (["data.root={root}/train/n01_red"], "n01_red is a flat folder without labels"),
        (["data.root={root}/two"], "1 class folders that .*two has not, such as 'n03_blue'"),
        (["run.knn_images=2"], "run.knn_images=2 is below the 3 classes"),
    ],
)
def test_what_cannot_be_measured_is_told_before_training(root, more, told):
    if not (root / "two").exists():
        (root / "two").mkdir()
        for name in ("n01_red", "n02_green"):
            (root / "two" / name).symlink_to(root / "train" / name)
    with pytest.raises(UserError, match=told):
        online_knn.build_probe(configured(root, *(word.format(root=root) for word in more)))


def test_without_data_val_there_is_no_probe(root):
    assert online_knn.build_probe(configured(root, "data.val=")) is None
