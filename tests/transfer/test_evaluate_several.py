"""tools/evaluate.py over all exports of a run: a result names its epoch, no trunk counts twice, nothing is mixed."""

from __future__ import annotations

import pytest
import torch

from helpers.painted import paint_both
from pretrain.engine.checkpoint import export_trunk
from pretrain.models.siamese import build_trunk
from pretrain.runtime.errors import UserError
from tools import evaluate
from transfer import results

QUICK = ["image_size=32", "workers=0", "batch_size=8", "device=cpu", "threads=1"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """ROOT/{train,val} and RUN/export with epochs 2 and 10, the best of which is 10, and the network before them."""
    root = tmp_path_factory.mktemp("place")
    paint_both(root / "colours", train=6, val=4)
    for seed, (names, epoch) in enumerate(
        [(["initial"], 0), (["epoch_0002"], 2), (["epoch_0010", "best", "trunk"], 10)]
    ):
        torch.manual_seed(seed)
        trunk, _ = build_trunk("resnet18", zero_init_residual=False)
        for name in names:
            meta = {"step": 5 * epoch, "epoch": float(epoch), "method": "unigrad", "run": str(root / "run")}
            export_trunk(root / "run" / "export" / f"{name}.pth", trunk, "resnet18", meta)
    return root


def run(place, checkpoint, out, tasks="knn"):
    evaluate.main([tasks, "--checkpoint", str(checkpoint), "--data", str(place / "colours"), "--out", str(out), *QUICK])


def test_a_folder_of_exports_is_evaluated_epoch_by_epoch_and_each_trunk_once(place, tmp_path, capsys):
    run(place, place / "run" / "export", tmp_path / "{run}-{checkpoint}-{task}.json")
    said = capsys.readouterr().out
    found = {path.name: results.load(path) for path in tmp_path.glob("*.json")}
    assert set(found) == {f"run-{name}-knn.json" for name in ("initial", "epoch_0002", "epoch_0010")}
    for name, epoch in (("initial", 0), ("epoch_0002", 2), ("epoch_0010", 10)):
        result = found[f"run-{name}-knn.json"]
        assert result.pretraining["epoch"] == epoch and result.checkpoint.endswith(f"{name}.pth")
        run(place, place / "run" / "export" / f"{name}.pth", tmp_path / "alone.json")
        assert results.load(tmp_path / "alone.json").metrics == result.metrics
    assert said.index("random resnet18: ") < said.index("resnet18 after epoch 2: ") < said.index("after epoch 10: ")
    for name in ("best", "trunk"):
        assert f"{name}.pth holds the trunk of epoch_0010.pth, which is measured once" in said


def test_a_pattern_chooses_among_them(place, tmp_path):
    run(place, place / "run" / "export" / "epoch_*.pth", tmp_path / "{checkpoint}" / "knn.json")
    assert sorted(path.parent.name for path in tmp_path.glob("*/knn.json")) == ["epoch_0002", "epoch_0010"]


@pytest.mark.parametrize(
    ("checkpoint", "out", "told"),
    [
        ("export", "one.json", "put {checkpoint} in its name"),
        ("export", "{task}.json", "put {checkpoint} in its name"),
        ("export/step_*.pth", "{checkpoint}.json", "no file fits --checkpoint"),
        ("empty", "{checkpoint}.json", "holds no checkpoint"),
    ],
)
def test_what_would_be_mixed_up_or_is_not_there_is_refused(place, tmp_path, checkpoint, out, told):
    (place / "run" / "empty").mkdir(exist_ok=True)
    with pytest.raises(UserError) as caught:
        run(place, place / "run" / checkpoint, tmp_path / out)
    assert told in str(caught.value) and not list(tmp_path.iterdir())


def test_a_damaged_one_among_them_is_named_before_any_is_measured(place, tmp_path):
    folder = tmp_path / "export"
    folder.mkdir()
    for name in ("epoch_0002.pth", "epoch_0010.pth"):
        (folder / name).write_bytes((place / "run" / "export" / name).read_bytes())
    (folder / "epoch_0010.pth").write_bytes(b"PK cut short")
    with pytest.raises(UserError, match=r"epoch_0010\.pth cannot be read"):
        run(place, folder, tmp_path / "{checkpoint}.json")
    assert not list(tmp_path.glob("*.json"))
