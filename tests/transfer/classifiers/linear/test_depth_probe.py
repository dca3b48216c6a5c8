"""The depth probe against scikit-learn's ridge regression; and the published file, whose depths can be learnt."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import Ridge

from helpers.outcomes import retold
from pretrain.engine.checkpoint import export_trunk
from pretrain.models.trunks import build_trunk
from pretrain.runtime.errors import UserError
from tools import evaluate
from tools.datasets import nyu
from tools.datasets.unpacking.benchmark import prepare_benchmark
from transfer import results
from transfer.classifiers.linear import depth_probe
from transfer.datasets.depth import depth_image, open_depth
from transfer.datasets.splits import DepthSplits

SIZE = (48, 64)  # rows and columns


def scene(seed):
    """Stripes that are the brighter the nearer they are: uint8 (H, W, 3), and metres (H, W) with a hole."""
    draw = np.random.default_rng(seed)
    depth = np.repeat(draw.uniform(1, 8, 4), SIZE[1] // 4)[None].repeat(SIZE[0], 0).astype(np.float32)
    pixels = 255 - 28 * depth[..., None] + draw.normal(0, 3, (*SIZE, 3))
    depth[20:24, 30:36] = 0
    return pixels.clip(0, 255).astype(np.uint8), depth


def write_published(folder, train, test):
    """A file and a split as the authors offer them: MATLAB's columns in HDF5, and places that are counted from 1."""
    h5py = pytest.importorskip("h5py")
    from scipy.io import savemat

    scenes = [scene(seed) for seed in range(train + test)]
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / nyu.IMAGES, "w") as file:  # MATLAB's H x W x 3 x N is HDF5's N x 3 x W x H
        file["images"] = np.stack([pixels.transpose(2, 1, 0) for pixels, _ in scenes])
        file["depths"] = np.stack([depth.T for _, depth in scenes])
    places = np.random.default_rng(1).permutation(train + test) + 1
    savemat(folder / nyu.SPLITS, {"trainNdxs": places[:train, None], "testNdxs": places[train:, None]})
    return scenes, places


def test_the_fit_is_scikit_learns_ridge_regression_of_cells_that_weigh_their_known_pixels():
    draw = np.random.default_rng(0)
    maps = torch.from_numpy(draw.normal(3, 2, (7, 5, 3, 4)).astype(np.float32))
    maps[:, 4] = 1  # a channel that tells nothing
    depths = [draw.uniform(0.5, 9, (12, 16)).astype(np.float32) for _ in range(7)]
    for one in depths:
        one[draw.random(one.shape) < 0.3] = 0
    depths[0][:4, :4] = 0  # a cell without any depth
    cells = [depth_probe.cell_depths(one, (3, 4)) for one in depths]
    wanted, shares = (torch.stack(part) for part in zip(*cells, strict=True))
    blocks = np.stack(depths).reshape(7, 3, 4, 4, 4).swapaxes(2, 3).reshape(7, 3, 4, 16)
    known = (blocks > 0).sum(-1)
    assert shares.numpy() == pytest.approx(known / 16)
    assert wanted.numpy() == pytest.approx(blocks.sum(-1) / np.maximum(known, 1))
    rows, weights = maps.permute(0, 2, 3, 1).reshape(-1, 5).double().numpy(), known.ravel() / known.sum()
    mean = weights @ rows
    std = np.sqrt(weights @ (rows - mean) ** 2)
    std[4] = 1
    for decay, fitted in zip((1.0, 0.01), depth_probe.fits(maps, wanted, shares, (1.0, 0.01)), strict=True):
        solver = Ridge(alpha=decay, tol=1e-12).fit((rows - mean) / std, wanted.numpy().ravel(), sample_weight=weights)
        expected = solver.predict((rows - mean) / std).reshape(7, 3, 4)
        assert fitted.outputs(maps)[:, 0].numpy() == pytest.approx(expected, abs=1e-5)


def test_the_decay_is_chosen_on_held_out_images():
    draw = np.random.default_rng(2)
    maps = torch.from_numpy(draw.normal(size=(12, 6, 3, 4)).astype(np.float32))
    near = 4 + maps[:, 0].numpy() + draw.normal(0, 0.5, (12, 3, 4))
    depths = list(near.repeat(4, 1).repeat(4, 2).clip(0.5, 9).astype(np.float32))
    fitted, details = depth_probe.choose_and_fit(maps, depths.__getitem__, 0.25, 0)
    best = min(details["held_out_RMSE"], key=details["held_out_RMSE"].__getitem__)
    assert details["weight_decay"] == float(best) and len(details["held_out_RMSE"]) == len(depth_probe.DECAYS)
    found = depth_probe.errors_of(fitted, maps, depths.__getitem__)
    assert found["RMSE"].mean() < 0.8 * np.mean([one.std() for one in depths])


def test_the_published_file_becomes_folders_of_images_and_millimetres(tmp_path):
    scenes, places = write_published(tmp_path / "got", 5, 3)
    for archive in nyu.archives():
        nyu.unpack(archive, tmp_path / "got", tmp_path / "root", verify=False)
    for part, own in (("train", places[:5]), ("test", places[5:])):
        names = sorted(path.name for path in (tmp_path / "root/NYUv2/images" / part).iterdir())
        assert names == sorted(f"{place:04}.png" for place in own)
        for place in own:
            pixels, depth = scenes[place - 1]
            assert np.array_equal(Image.open(tmp_path / f"root/NYUv2/images/{part}/{place:04}.png"), pixels)
            found = depth_image(tmp_path / f"root/NYUv2/depths/{part}/{place:04}.png", 1000)
            assert np.abs(found - depth).max() <= 0.0005 + 1e-6
    told = " ".join(nyu.faults(tmp_path / "root"))
    assert "holds images: 5 instead of 795" in told and "holds images: 3 instead of 654" in told
    data = open_depth(tmp_path / "root/NYUv2", DepthSplits())
    assert (len(data.train), len(data.val), data.published) == (5, 3, False)


def test_files_that_are_not_the_published_ones_are_refused_in_one_sentence(tmp_path):
    write_published(tmp_path / "got", 2, 1)
    with pytest.raises(UserError, match=r"splits\.mat has the md5 .* not 08e3c3ae\w+ as published"):
        prepare_benchmark(nyu.BENCHMARK, tmp_path / "root", tmp_path / "got", True, False)
    images = nyu.archives()[1]
    with pytest.raises(UserError, match=r"does not say its split: put splits\.mat"):
        nyu.unpack(images, tmp_path / "got", tmp_path / "root", verify=False)
    nyu.unpack(nyu.archives()[0], tmp_path / "got", tmp_path / "root", verify=False)
    (tmp_path / "got" / nyu.IMAGES).write_bytes(b"no HDF5")
    with pytest.raises(UserError, match="cannot be read as MATLAB's HDF5"):
        nyu.unpack(images, tmp_path / "got", tmp_path / "root", verify=False)
    (tmp_path / "got" / nyu.SPLITS).write_bytes(b"no MATLAB")
    with pytest.raises(UserError, match="is no MATLAB file with trainNdxs and testNdxs"):
        nyu.unpack(nyu.archives()[0], tmp_path / "got", tmp_path / "root", verify=False)
    with pytest.raises(
        UserError, match="nyu below .* is not complete: .* 0 instead of 795.* is at http://.*silberman/nyu"
    ):
        prepare_benchmark(nyu.BENCHMARK, tmp_path / "new", tmp_path / "none", True, False)


def write(root, images, depths, seeds, names=("{}.jpg", "{}.png"), per_metre=1000):
    for seed in seeds:
        pixels, depth = scene(seed)
        for folder, name, one in zip((images, depths), names, (pixels, depth), strict=True):
            path = root / folder / name.format(seed)
            path.parent.mkdir(parents=True, exist_ok=True)
            made = Image.fromarray(one if one.ndim == 3 else np.rint(one * per_metre).astype(np.uint16))
            made.save(path, **({"quality": 95} if one.ndim == 3 else {}))
    return root


def test_scenes_of_frames_and_folders_of_any_name_are_read(tmp_path):
    for part, seeds in (("train", range(3)), ("test", range(3, 5))):
        write(tmp_path / "a", f"{part}/den_1", f"{part}/den_1", seeds, ("rgb_0{}.jpg", "sync_depth_0{}.png"))
        write(tmp_path / "b", f"{part}-rgb", f"{part}-d", seeds, per_metre=5000)
    frames = open_depth(tmp_path / "a", DepthSplits())
    assert [frames.val.key(at) for at in range(2)] == ["test/den_1/rgb_03.jpg", "test/den_1/rgb_04.jpg"]
    assert frames.label_images[1]["test/den_1/rgb_04.jpg"].name == "sync_depth_04.png"
    own = DepthSplits(train="train-rgb:train-d", test="test-rgb:test-d", per_metre=5000)
    folders = open_depth(tmp_path / "b", own)
    found = depth_image(folders.label_images[0]["train-rgb/2.jpg"], 5000)
    assert np.abs(found - scene(2)[1]).max() < 0.001


def test_what_is_no_depth_is_refused_in_one_sentence(tmp_path):
    own = DepthSplits(train="rgb:d", test="rgb:d")
    write(tmp_path, "rgb", "d", range(2))
    with pytest.raises(UserError, match="has neither depths/SPLIT nor SPLIT/SCENE/sync_depth_.*nyu"):
        open_depth(tmp_path, DepthSplits())
    with pytest.raises(UserError, match="split 'test' is not of the form IMAGES:DEPTHS"):
        open_depth(tmp_path, DepthSplits(train="rgb:d"))
    Image.new("L", SIZE[::-1], 9).save(tmp_path / "d/1.png")
    with pytest.raises(
        UserError, match=r"1\.png cannot be read as a depth image .its mode is L, not a grey of 16 bits"
    ):
        open_depth(tmp_path, own)
    Image.fromarray(np.ones((20, 30), np.uint16)).save(tmp_path / "d/1.png")
    with pytest.raises(UserError, match=r"1\.png is .30, 20., but its image .*1\.jpg is .64, 48.: make them equal"):
        open_depth(tmp_path, own)
    Image.fromarray(np.zeros(SIZE, np.uint16)).save(tmp_path / "d/1.png")
    with pytest.raises(UserError, match=r"1\.png has no depth above 0"):
        open_depth(tmp_path, own)
    (tmp_path / "d/1.png").unlink()
    with pytest.raises(UserError, match="lacks 1 of the images of .*, first '1'"):
        open_depth(tmp_path, own)
    frames = write(tmp_path / "f", "test/den", "test/den", [1], ("rgb_{}.jpg", "sync_depth_{}.png"))
    write(frames, "train/den", "train/den", [1], ("rgb_{}.jpg", "sync_depth_{}.png"))
    (frames / "train/den/rgb_1.jpg").unlink()
    with pytest.raises(UserError, match="1 images lack the one of rgb and sync_depth, first den/1"):
        open_depth(frames, DepthSplits())


@pytest.mark.slow
def test_depth_is_learnt_from_brightness_by_a_stage_without_training(tmp_path):
    """Of res5 a map of 2x2 cells is left, which tells less of four stripes."""
    root = tmp_path / "set"
    for part, seeds in (("train", range(12)), ("test", range(12, 18))):
        write(root, f"images/{part}", f"depths/{part}", seeds)
    torch.manual_seed(0)
    trunk = build_trunk("resnet18", zero_init_residual=False)[0]
    export_trunk(tmp_path / "t.pth", trunk, "resnet18", {"step": 1, "method": "byol"})
    quick = ["image_size=64", "workers=0", "device=cpu", "batch_size=4"]
    found = {}
    for stage in ("res2", "res5"):
        out = tmp_path / f"{stage}.json"
        given = ["--checkpoint", str(tmp_path / "t.pth"), "--data", str(root), "--out", str(out), *quick]
        evaluate.main(["depth", *given, f"map_of={stage}"])
        found[stage] = results.load(out)
    near, far = found["res2"], found["res5"]
    spread = np.mean([scene(seed)[1][scene(seed)[1] > 0].std() for seed in range(12, 18)])
    assert near.metrics["RMSE"] < 0.4 * spread and near.metrics["delta1"] > 70
    assert near.metrics["RMSE"] < far.metrics["RMSE"]
    assert near.counts == {"train": 12, "val": 6, "skipped": 0, "classes": 1}
    assert "own images, Eigen's crop" in near.protocol and "whole images squashed to 64x64" in near.protocol
    assert retold(near, tmp_path)[0] == list(near.metrics)
