"""transfer.classifiers.linear.dense_probe, against scikit-learn's fit of every pixel and its Jaccard index."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import jaccard_score, recall_score

from helpers.outcomes import retold
from pretrain.engine.checkpoint import export_trunk
from pretrain.models.trunks import build_trunk
from pretrain.runtime.errors import UserError
from tools import evaluate
from transfer import results
from transfer.classifiers.linear import dense_probe
from transfer.datasets.semantic import open_semantic, shifted
from transfer.datasets.splits import LabelSplits

CLASSES = 3


def case(images=6, channels=4, grid=3, side=12, seed=0):
    """Maps that tell the class of the pixels below each cell with noise; a seventh of the pixels is ignored."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, CLASSES, (images, grid, grid)).repeat(side // grid, 1).repeat(side // grid, 2)
    maps = draw.normal(size=(images, channels, grid, grid)).astype(np.float32)
    maps[:, :CLASSES] += 1.5 * (labels[:, None, ::4, ::4] == np.arange(CLASSES)[None, :, None, None])
    stray = draw.random(labels.shape) < 0.2
    labels[stray] = draw.integers(0, CLASSES, int(stray.sum()))
    labels[draw.random(labels.shape) < 1 / 7] = dense_probe.IGNORED
    return torch.from_numpy(maps), list(labels.astype(np.uint8))


def test_the_fit_is_scikit_learns_of_every_pixel_with_the_numbers_of_its_cell():
    maps, labels = case()
    cells = dense_probe.cells_of(maps, labels, CLASSES)
    fitted = dense_probe.fit(cells, 0.1, dense_probe.zeros_for(cells))
    rows = cells.rows.double().numpy()
    standardised = (rows - rows.mean(0)) / rows.std(0)
    pixels = np.concatenate([one.reshape(3, 4, 3, 4).swapaxes(1, 2).reshape(9, 16) for one in labels])
    known = pixels != dense_probe.IGNORED
    each = np.repeat(standardised, known.sum(1), axis=0)
    solver = LogisticRegression(C=1 / (0.1 * known.sum()), tol=1e-10, max_iter=5000).fit(each, pixels[known])
    scores = fitted.outputs(maps).permute(0, 2, 3, 1).reshape(-1, CLASSES).numpy()
    expected = solver.decision_function(standardised)
    assert scores - scores.mean(1, keepdims=True) == pytest.approx(expected - expected.mean(1, keepdims=True), abs=1e-3)


def test_intersection_over_union_is_scikit_learns_jaccard_index_over_known_pixels():
    maps, labels = case(seed=1)
    cells = dense_probe.cells_of(maps, labels, CLASSES)
    fitted = dense_probe.fit(cells, 0.1, dense_probe.zeros_for(cells))
    found = dense_probe.tallies(fitted, maps, labels.__getitem__, CLASSES + 1)  # one class that no image shows
    metrics, each = dense_probe.metrics_of(found)
    resize = torch.nn.Upsample((12, 12), mode="bilinear")
    given, truth = resize(fitted.outputs(maps)).argmax(1).numpy(), np.stack(labels)
    known = truth != dense_probe.IGNORED
    index = 100 * jaccard_score(truth[known], given[known], average=None)
    assert [each[one] for one in range(CLASSES)] == pytest.approx(index) and len(each) == CLASSES
    recall = 100 * recall_score(truth[known], given[known], average="macro")
    expected = {"mIoU": index.mean(), "mACC": recall, "pACC": 100 * (truth == given)[known].mean()}
    assert metrics == pytest.approx(expected)


def test_the_decay_is_chosen_on_held_out_images():
    maps, labels = case(images=10, seed=2)
    fitted, details = dense_probe.choose_and_fit(maps, labels, CLASSES, 0.3, 0)
    best = max(details["held_out_mIoU"], key=details["held_out_mIoU"].__getitem__)
    cells = dense_probe.cells_of(maps, labels, CLASSES)
    again = dense_probe.fit(cells, float(best), dense_probe.zeros_for(cells))
    assert details["weight_decay"] == float(best) and torch.equal(fitted.weight, again.weight)


def write(root, images, labels, count, seed, first=0, side=64):
    """Pictures whose left and right parts have the colours of two classes, with label images; the top is ignored."""
    draw = np.random.default_rng(seed)
    colours = np.array([(210, 60, 60), (60, 210, 60), (60, 60, 210)])
    for folder in (root / images, root / labels):
        folder.mkdir(parents=True)
    for at in range(count):
        kinds = np.full((side, side), at % CLASSES)
        kinds[:, draw.integers(20, 44) :] = (at + 1) % CLASSES
        pixels = colours[kinds] + draw.normal(0, 20, (side, side, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / images / f"{at}.jpg")
        kinds[:4] = dense_probe.IGNORED - first
        Image.fromarray((kinds + first).astype(np.uint8)).save(root / labels / f"{at}.png")
    return root


def test_labels_from_1_on_are_classes_from_0_on_in_ade20ks_layout(tmp_path):
    for split, count in (("training", 3), ("validation", 3)):
        write(tmp_path, f"images/{split}", f"annotations/{split}", count, 0, first=1)
    path = tmp_path / "annotations" / "training" / "0.png"
    labels = np.array(Image.open(path))
    labels[-1] = 0  # of no class
    Image.fromarray(labels).save(path)
    data = open_semantic(tmp_path, LabelSplits())
    assert len(data.train.classes) == 150 and data.first_label == 1
    found = shifted(data.label_images[0]["images/training/0.jpg"], data.first_label)
    assert set(np.unique(found)) == {0, 1, 255} and (found[-1] == 255).all() and (found[:4] == 255).all()


def test_what_cannot_be_a_label_or_a_layout_is_refused(tmp_path):
    write(tmp_path, "photos", "truth", 3, 0)
    folders = LabelSplits(train="photos:truth", test="photos:truth")
    assert len(open_semantic(tmp_path, folders).train.classes) == CLASSES
    with pytest.raises(UserError, match="has class 2, but there are 2 classes .0 to 1."):
        open_semantic(tmp_path, LabelSplits(train="photos:truth", test="photos:truth", classes=2))
    with pytest.raises(UserError, match="does not tell its layout .found: none.: give labels.layout"):
        open_semantic(tmp_path, LabelSplits())
    with pytest.raises(UserError, match="labels.test is unset: give IMAGES:LABELS"):
        open_semantic(tmp_path, LabelSplits(train="photos:truth"))
    Image.new("L", (20, 30)).save(tmp_path / "truth" / "1.png")
    with pytest.raises(UserError, match=r"1\.png is .20, 30., but its image .*1\.jpg is .64, 64.: make them equal"):
        open_semantic(tmp_path, folders)


@pytest.mark.slow
def test_colours_are_told_apart_at_every_pixel_by_a_stem_without_training(tmp_path):
    write(tmp_path / "set", "train", "train-labels", 9, 1)
    write(tmp_path / "set", "test", "test-labels", 3, 2)
    torch.manual_seed(0)
    export_trunk(tmp_path / "t.pth", build_trunk("resnet18", zero_init_residual=False)[0], "resnet18", {"step": 1})
    given = [
        "--checkpoint",
        str(tmp_path / "t.pth"),
        "--data",
        str(tmp_path / "set"),
        "--out",
        str(tmp_path / "r.json"),
    ]
    more = ["labels.train=train:train-labels", "labels.test=test:test-labels", "map_of=res2"]
    quick = ["image_size=64", "resize=64", "workers=0", "device=cpu", "batch_size=4"]
    evaluate.main(["dense", *given, *more, *quick])
    result = results.load(tmp_path / "r.json")
    assert result.metrics["mIoU"] > 80 and result.metrics["pACC"] > 90
    assert retold(result, tmp_path)[0] == ["mIoU", "mACC", "pACC"]
    assert result.counts == {"train": 9, "val": 3, "skipped": 0, "classes": CLASSES}
    assert "res2 (64 channels, 16x16)" in result.protocol
