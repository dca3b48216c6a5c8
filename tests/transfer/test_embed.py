"""tools/embed.py: the rows are the network's own, with names beside them, of any source, and no work is done twice."""

from __future__ import annotations

import csv
import shutil
import sys

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from helpers import two_ranks
from helpers.painted import paint
from helpers.repository import ROOT
from pretrain.engine.checkpoint import export_trunk
from pretrain.models.trunks import build_trunk
from pretrain.runtime.errors import UserError
from tools import embed, prepare_data
from transfer.features import cache

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
QUICK = ["image_size=32", "resize=32", "workers=0", "batch_size=4", "device=cpu", "threads=1"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Painted classes, the same flat and packed, an export, and one file that is no image among the classes."""
    root = tmp_path_factory.mktemp("place")
    paint(root / "classes", 4)
    (root / "flat").mkdir()
    for path in (root / "classes").rglob("*.png"):
        shutil.copy(path, root / "flat")
    prepare_data.main(["pack", str(root / "classes"), str(root / "packed"), "--short-side", "0"])
    shutil.copytree(root / "classes", root / "damaged")
    (root / "damaged" / "n02_green" / "n02_green_1.png").write_bytes(b"no image")
    torch.manual_seed(0)
    trunk, _ = build_trunk("resnet18", zero_init_residual=False)
    export_trunk(root / "trunk.pth", trunk, "resnet18", {"step": 0, "seed": 0})
    return root


def command(place, out, *more, data="classes"):
    given = ["--checkpoint", str(place / "trunk.pth"), "--data", str(place / data), "--out", str(out)]
    return [*given, *QUICK, *more]


def read(out):
    with open(out.with_suffix(".csv"), newline="", encoding="utf-8") as file:
        return np.load(out), list(csv.DictReader(file))


def expected(place, path):
    """The features of one file by torchvision and Pillow alone."""
    trunk = torchvision.models.resnet18()
    trunk.fc = torch.nn.Identity()
    trunk.load_state_dict(torch.load(place / "trunk.pth", weights_only=True)["state_dict"])
    image = Image.open(path).convert("RGB")
    short = min(image.size)
    image = image.resize([round(32 * side / short) for side in image.size], Image.Resampling.BILINEAR)
    left, top = (image.width - 32) // 2, (image.height - 32) // 2
    pixels = np.asarray(image.crop((left, top, left + 32, top + 32))) / 255
    with torch.no_grad():
        return trunk.eval()(torch.tensor((pixels - MEAN) / STD).permute(2, 0, 1)[None].float())[0].numpy()


def test_each_row_is_the_features_of_the_image_that_is_named_beside_it(place, tmp_path):
    embed.main(command(place, tmp_path / "new" / "f.npy"))
    rows, table = read(tmp_path / "new" / "f.npy")
    assert rows.shape == (12, 512) and rows.dtype == np.float32
    assert [line["name"] for line in table] == sorted(
        f"{line['class']}/{line['class']}_{n % 4}.png" for n, line in enumerate(table)
    )
    for at in (0, 7):
        np.testing.assert_allclose(
            rows[at], expected(place, place / "classes" / table[at]["name"]), rtol=1e-3, atol=1e-3
        )
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["f.csv", "f.json", "f.npy"]  # no work folder


def test_flat_packed_and_damaged_sets_give_the_same_rows_of_the_same_images(place, tmp_path, capsys):
    found = {}
    for data in ("classes", "flat", "packed", "damaged"):
        embed.main(command(place, tmp_path / f"{data}.npy", data=data))
        rows, table = read(tmp_path / f"{data}.npy")
        found[data] = {line["name"].split("/")[-1]: row for line, row in zip(table, rows, strict=True)}
        assert {line["class"] for line in table} == ({""} if data == "flat" else {"n01_red", "n02_green", "n03_blue"})
    assert len(found["damaged"]) == 11 and "n02_green_1.png" not in found["damaged"]
    assert "skipped an unreadable image" in capsys.readouterr().err
    for data in ("flat", "packed", "damaged"):
        assert all(np.array_equal(row, found["classes"][name]) for name, row in found[data].items())


def test_an_interrupted_call_goes_on_where_it_stopped(place, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cache, "PART", 4)
    embed.main(command(place, tmp_path / "whole.npy"))
    write, parts = cache.write_json, []

    def stopping(path, value):
        if len(parts) == 2:
            raise KeyboardInterrupt
        parts.append(path)
        return write(path, value)

    with monkeypatch.context() as patched:
        patched.setattr(cache, "write_json", stopping)
        with pytest.raises(KeyboardInterrupt):
            embed.main(command(place, tmp_path / "f.npy"))
    assert not (tmp_path / "f.npy").exists()
    embed.main(command(place, tmp_path / "f.npy"))
    assert "2 of 3 parts are there already" in capsys.readouterr().out
    assert np.array_equal(np.load(tmp_path / "f.npy"), np.load(tmp_path / "whole.npy"))


@pytest.mark.slow
def test_two_processes_write_what_one_writes(place, tmp_path):
    embed.main(command(place, tmp_path / "one.npy"))
    words = [sys.executable, ROOT / "tools" / "embed.py", *command(place, tmp_path / "two.npy")]
    ranks = two_ranks.tools(*[(words, {})] * 2)
    assert [rank.returncode for rank in ranks] == [0, 0], [rank.stderr for rank in ranks]
    # the rows, their table, and the record, by one of the two
    assert [rank.stdout.count("wrote ") for rank in ranks] == [3, 0]
    assert np.array_equal(np.load(tmp_path / "two.npy"), np.load(tmp_path / "one.npy"))
    assert (tmp_path / "two.csv").read_text() == (tmp_path / "one.csv").read_text()


def test_parquet_holds_names_classes_features_and_places(place, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    embed.main(command(place, tmp_path / "f.npy"))
    embed.main(command(place, tmp_path / "f.parquet", "--map", "tsne", "--map-images", "8"))
    rows, table = read(tmp_path / "f.npy")
    found = parquet.read_table(tmp_path / "f.parquet").to_pydict()
    assert found["name"] == [line["name"] for line in table] and found["class"] == [line["class"] for line in table]
    assert np.array_equal(np.array(found["features"], np.float32), rows)
    assert np.isfinite(found["x"]).sum() == np.isfinite(found["y"]).sum() == 8


@pytest.mark.parametrize("name", ["tsne", "umap"])
def test_a_map_keeps_classes_together_and_is_drawn(place, tmp_path, name):
    pytest.importorskip({"tsne": "sklearn", "umap": "umap"}[name])
    embed.main(command(place, tmp_path / "f.npy", "--map", name))
    _, table = read(tmp_path / "f.npy")
    places = np.array([[float(line["x"]), float(line["y"])] for line in table])
    assert places.shape == (12, 2) and np.isfinite(places).all() and places.std(0).min() > 0
    with Image.open(tmp_path / f"f-{name}.png") as drawn:
        assert drawn.size[0] > 300


@pytest.mark.parametrize(
    ("words", "out", "told"),
    [
        ([], "f.txt", "written as .npy or .parquet"),
        (["--map-images", "2"], "f.npy", "--map-images 2 is below 5"),
        (["image_size=1"], "f.npy", "image_size=1 is out of range"),
        ([], "", "is a folder: give the name of a file"),
    ],
)
def test_what_cannot_be_written_is_refused_in_a_sentence(place, tmp_path, words, out, told):
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(UserError, match=told):
        embed.main(command(place, tmp_path / (out or "folder.npy"), *words))
    assert [path.name for path in tmp_path.iterdir()] == ["folder.npy"]
