"""A name on a hub of models through a whole training, its resumption, and the features of other images."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest
import torch

from helpers import hub as hubs
from helpers.tiny_runs import TINY, configure, write_images
from pretrain.runtime.errors import Stopped
from pretrain.runtime.processes.signals import Stopping
from pretrain.train import train
from tools import embed
from tools import pretrain as tool

pytest.importorskip("huggingface_hub")
SHORT = ["optim.epochs=1", "optim.warmup_epochs=0", "run.trackers=[]"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def given(images, tmp_path_factory):
    """The bytes of a trunk of two steps, and of the same network before them."""
    run = tmp_path_factory.mktemp("runs") / "given"
    train(configure(images, run, *SHORT))
    yield tuple((run / "export" / name).read_bytes() for name in ("trunk.pth", "initial.pth"))
    shutil.rmtree(run)


@pytest.mark.slow
def test_a_run_keeps_to_the_commit_that_it_began_from_and_features_name_theirs(
    images, given, tmp_path, monkeypatch, capsys
):
    run = tmp_path / "run"
    words = [*TINY, *SHORT, f"data.root={images}", f"run_dir={run}", "model.init=hf:me/net"]
    with hubs.serving() as hub:
        hubs.talk_to(hub, tmp_path / "cache", monkeypatch)
        first = hub.push("me/net", {"model.pth": given[0]})
        with monkeypatch.context() as patch, pytest.raises(Stopped):
            patch.setattr(Stopping, "agreed", lambda _: True)  # as if somebody had asked for it
            tool.main(words)
        second = hub.push("me/net", {"model.pth": given[1]})
        tool.main(words)
        out = tmp_path / "rows.npy"
        asked = ["--checkpoint", "hf:me/net", "--data", str(images), "--out", str(out)]
        embed.main([*asked, "image_size=32", "workers=0", "threads=1", "device=cpu"])
    started, record = (json.loads(path.read_text()) for path in (run / "init.json", out.with_suffix(".json")))
    assert started["file"] == f"hf:me/net@{first}/model.pth"
    assert f"hf:me/net has moved to revision {second}" in capsys.readouterr().out
    assert (record["checkpoint"], record["checkpoint_sha256"]) == (
        f"hf:me/net@{second}/model.pth",
        hashlib.sha256(given[1]).hexdigest(),
    )
    initial = torch.load(run / "export" / "initial.pth", weights_only=True)["state_dict"]
    (tmp_path / "given.pth").write_bytes(given[0])
    wanted = torch.load(tmp_path / "given.pth", weights_only=True)["state_dict"]
    assert all(torch.equal(initial[name], tensor) for name, tensor in wanted.items())
