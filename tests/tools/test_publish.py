"""tools/publish.py: the folder is read by the libraries that it is for, and a hub gets the same."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from importlib.metadata import version

import pytest
import torch
from packaging.version import Version
from safetensors.torch import load
from torchvision.models import resnet18

from helpers import hub as hubs
from helpers.report_samples import a_line, a_result, a_run
from helpers.repository import ROOT
from pretrain.engine.checkpoint import export_trunk
from pretrain.runtime.errors import UserError
from pretrain.weights.hub import fetch
from pretrain.weights.hub.fetch import fetched
from pretrain.weights.read_trunk import read_trunk
from pretrain.weights.trunk import TrunkFile
from tools import publish as tool
from transfer.publish.configuration import configuration

META = {"method": "unigrad", "step": 20, "epoch": 2.0, "images_seen": 1280, "seed": 0, "image_size": 64}
huggingface_hub = pytest.importorskip("huggingface_hub")
NAMES = {"README.md", "config.json", "model.safetensors"}


@pytest.fixture(scope="module")
def network():
    """A ResNet-18 whose norms have seen something, so that a tensor in the wrong place shows."""
    torch.manual_seed(0)
    made = resnet18()
    made.fc = torch.nn.Identity()
    for part in made.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    return made.eval()


@pytest.fixture(scope="module")
def run(network, tmp_path_factory):
    given = ["model.arch=resnet18", "optim.epochs=2"]
    folder = tmp_path_factory.mktemp("runs") / "run"
    a_run(folder, [a_line(10), a_line(20)], "/pictures/toys/train", 3, given)
    export = export_trunk(folder / "export" / "trunk.pth", network, "resnet18", META | {"run": str(folder)})
    own = {"checkpoint_sha256": hashlib.sha256((folder / "export" / "trunk.pth").read_bytes()).hexdigest()}
    for seed in range(2):
        a_result(folder / f"knn-{seed}.json", 40.0 + seed, "pretrained", seed, **own, pretraining=META)
    a_result(folder / "det.json", 30.0, "pretrained", **own, task="detection", metrics={"AP": 30.0}, pretraining=META)
    a_result(folder / "old.json", 99.0, "pretrained", 7, pretraining=META | {"run": str(folder)})
    assert export is None or export.is_file()
    return folder


@pytest.fixture(scope="module")
def published(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("published") / "toynet"
    tool.main([str(run), "--to", str(folder), "--licence", "apache-2.0", "--dataset", "me/toys"])
    return folder


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch.patiently, "__defaults__", ((0.01,),))
    with hubs.serving() as running:
        hubs.talk_to(running, tmp_path / "cache", monkeypatch, running.token)
        yield running


def features(network, images):
    with torch.no_grad():
        return network.double()(images.double())


IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def test_timm_reads_the_folder_with_equal_features_and_the_evaluations_transform(published, network):
    timm = pytest.importorskip("timm", minversion="1.0.16")
    loaded = timm.create_model(f"local-dir:{published}", pretrained=True).eval()
    assert torch.equal(features(loaded, IMAGES), features(network, IMAGES))
    resize, crop = timm.data.create_transform(**timm.data.resolve_model_data_config(loaded)).transforms[:2]
    assert (resize.size, tuple(crop.size)) == (73, (64, 64))  # of 256 and 224
    assert {path.name for path in published.iterdir()} == NAMES


def test_timm_cuts_from_the_short_side_that_evaluation_cuts_from():
    for size in (32, 64, 97, 112, 128, 192, 224, 288, 384):
        trunk = TrunkFile({}, "resnet18", "", {"image_size": size})
        share = configuration(trunk)["pretrained_cfg"]["crop_pct"]
        assert int(size / share) == round(size * 256 / 224)  # timm/data/transforms_factory.py


def test_the_lines_of_the_card_load_the_trunk(published, network, monkeypatch):
    monkeypatch.chdir(published)
    blocks = [one.partition("```")[0] for one in (published / "README.md").read_text().split("```python\n")[1:]]
    assert "local-dir:" in blocks[1]  # which older versions of timm do not read
    for code in blocks[: 2 if Version(version("timm")) >= Version("1.0.16") else 1]:
        names: dict[str, torch.nn.Module] = {}
        exec(code, names)
        assert torch.equal(features(names["trunk"], IMAGES), features(network, IMAGES))


@pytest.mark.slow
def test_transformers_reads_the_folder_with_equal_features(published, network):
    transformers = pytest.importorskip("transformers", minversion="4.48")
    loaded = transformers.AutoModel.from_pretrained(published).eval()
    with torch.no_grad():
        assert torch.allclose(loaded(pixel_values=IMAGES).pooler_output, network.float()(IMAGES), atol=1e-6)


def test_the_header_is_the_hubs_with_licence_data_and_metrics_of_this_very_trunk(published):
    data = huggingface_hub.ModelCard.load(published / "README.md").data
    assert (data.license, data.datasets, data.library_name) == ("apache-2.0", ["me/toys"], "timm")
    found = {(one.task_type, one.dataset_name, one.metric_type, one.metric_value) for one in data.eval_results}
    assert found == {
        ("image-classification", "toys", "accuracy", 40.5),
        ("object-detection", "toys", "mean_average_precision", 30.0),
    }
    knn = next(one for one in data.eval_results if one.metric_value == 40.5)
    assert knn.metric_name == "k-NN: top1, %, mean of 2 seeds" and knn.metric_args == {"protocol": "k-NN: k=20, 64 px"}
    assert "The weights are under apache-2.0, as their publisher says." in (published / "README.md").read_text()


def test_the_tools_read_what_was_published_with_what_it_says_of_its_making(published, network):
    read = read_trunk(published / "model.safetensors")
    assert read.meta["epoch"] == 2.0 and read.meta["method"] == "unigrad" and read.pixels_from == "the file says"
    assert all(torch.equal(read.state[name], one.float()) for name, one in network.float().state_dict().items())


@pytest.mark.filterwarnings("ignore:Use .content=:DeprecationWarning")  # of the client's own client
def test_an_upload_is_one_commit_that_every_tool_reads_by_its_name(run, published, hub, capsys):
    tool.main([str(run), "--to", "hf:me/toynet", "--private"])
    (commit, files), *others = hub.repos["me/toynet"]
    assert not others and set(files) == NAMES and "me/toynet" in hub.closed
    sent, kept = load(files["model.safetensors"]), load((published / "model.safetensors").read_bytes())
    assert sent.keys() == kept.keys() and all(torch.equal(sent[name], kept[name]) for name in kept)
    told = capsys.readouterr().out
    sha256 = hashlib.sha256(files["model.safetensors"]).hexdigest()
    assert f"uploaded hf:me/toynet@{commit}/" not in told and f"uploaded hf:me/toynet@{commit}, sha256" in told
    assert sha256 in told and f"{hub.url}/me/toynet/commit/{commit}" in told
    assert "hf-hub:me/toynet" in files["README.md"].decode() and "license: unknown" in files["README.md"].decode()
    path = fetched("hf:me/toynet")
    assert read_trunk(path).meta["epoch"] == 2.0 and json.loads(path.with_name("config.json").read_text())
    tool.main([str(path), "--to", "hf:me/toynet"])  # a file, to a repository that is there
    assert len(hub.repos["me/toynet"]) == 2


def test_bad_input_is_one_sentence_before_anything_is_written(run, hub, tmp_path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("all of it")
    file = str(run / "export" / "trunk.pth")
    for words, sentence in {
        (str(run), "--to", str(tmp_path / "full")): "holds other files .thesis.tex.",
        (str(run), "--to", "hf:toynet"): "is no name on the hub: write hf:USER/NAME",
        (str(run), "--to", "hf:me/toynet@main"): "names a revision or a file",
        (str(run), "--to", str(tmp_path / "new"), "--private"): "--private is for a repository on the hub",
        (str(run), "--to", str(tmp_path / "new"), "--licence", "all rights"): "--licence 'all rights' is no name",
        (str(run), "--to", str(tmp_path / "new"), "--branch", "online"): "--branch is for a checkpoint",
        (file, "--to", str(tmp_path / "new"), "--results", str(run)): "is no run folder",
        (str(tmp_path), "--to", str(tmp_path / "new")): "no pretraining run",
    }.items():
        with pytest.raises(UserError, match=sentence):
            tool.main(list(words))
    monkeypatch.setenv("HF_TOKEN", "")
    with pytest.raises(UserError, match=r"refuses hf:me/toynet, since there is no token: run `hf auth login`"):
        tool.main([str(run), "--to", "hf:me/toynet"])
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(UserError, match=r"refuses hf:me/toynet, since the token is not accepted \(status 401\)"):
        tool.main([str(run), "--to", "hf:me/toynet"])
    assert not (tmp_path / "new").exists() and not hub.repos


@pytest.mark.slow
def test_a_name_that_moved_ends_a_second_evaluation_with_the_code_of_bad_input(run, hub, tmp_path):
    commit = hub.push("me/net", {"model.pth": (run / "export" / "trunk.pth").read_bytes()})
    own = {"checkpoint": f"hf:me/net@{commit}/model.pth", "checkpoint_sha256": "0" * 64}
    result = a_result(tmp_path / "knn.json", 40.0, "pretrained", **own)
    words = ["knn", "--checkpoint", "hf:me/net", "--data", str(tmp_path), "--out", str(result)]
    environment = {"PATH": "", "OMP_NUM_THREADS": "1", **hubs.environment(hub, tmp_path / "kept")}
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "evaluate.py"), *words], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    assert f"knn.json is of hf:me/net@{commit}/model.pth, and hf:me/net has moved since" in done.stderr
    assert "Traceback" not in done.stderr and json.loads(result.read_text())["metrics"] == {"top1": 40.0}
