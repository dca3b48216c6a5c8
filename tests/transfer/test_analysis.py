"""transfer.analysis: each number against an independent oracle, and the task that writes them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from PIL import Image
from sklearn.metrics import average_precision_score

from helpers.painted import paint_both
from pretrain.engine.checkpoint import export_trunk
from pretrain.models.trunks import build_trunk
from pretrain.runtime.errors import UserError
from tools import evaluate
from transfer import results
from transfer.analysis import FrozenRows, alpha_req, few_shot, lidar, per_class, rankme, retrieval, robustness
from transfer.datasets.corruptions import corrupted
from transfer.features.rows import Features

CLASSES = 3


class Classes:
    """As much of a labelled set as readings of rows ask for."""

    def __init__(self) -> None:
        self.train = self.val = self
        self.classes = ("a", "b", "c")


def features_of(count, seed, spread=1.0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    centres = torch.randn(CLASSES, 8, generator=torch.Generator().manual_seed(5))
    rows = centres[labels] + spread * torch.randn(count, 8, generator=generator)
    return Features(rows, labels, tuple(map(str, range(count))), (), 0.0)


def frozen_rows(spread=1.0, images=1000):
    train, val = features_of(90, 1, spread), features_of(33, 2, spread)
    return FrozenRows(train, val, Classes(), None, images, 0, torch.device("cpu"))


def test_retrieval_is_scikit_learns_average_precision():
    given = frozen_rows()
    rows, queries = (torch.nn.functional.normalize(part.rows) for part in (given.train, given.val))
    expected = [
        average_precision_score(given.train.labels == label, rows @ query)
        for query, label in zip(queries, given.val.labels, strict=True)
    ]
    assert dict(retrieval.mean_average_precision(given)) == {
        "retrieval mAP, 33 queries": pytest.approx(100 * np.mean(expected))
    }
    assert "retrieval mAP, 7 queries" in dict(retrieval.mean_average_precision(frozen_rows(images=7)))


def test_nothing_relevant_has_no_precision():
    assert retrieval.average_precision(torch.tensor([[False, False], [False, True]])).tolist() == [0.0, 0.5]


@pytest.mark.parametrize("shape", [(40, 8), (5, 8)])
def test_rankme_is_the_entropy_of_the_singular_values(shape):
    rows = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    shares = np.linalg.svd(rows.double().numpy(), compute_uv=False)
    shares = shares / shares.sum() + 1e-7
    assert rankme.rankme(rows) == pytest.approx(math.exp(-(shares * np.log(shares)).sum()), rel=1e-6)
    assert rankme.rankme(torch.eye(6)) == pytest.approx(6, rel=1e-5)
    assert rankme.rankme(torch.ones(9, 4)) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("shape", [(12, 3, 5), (6, 4, 9)])
def test_lidar_is_the_entropy_of_the_generalised_eigenvalues(shape):
    """scipy solves Σb v = λ Σw v directly; the scatters are summed row by row."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(shape, generator=generator) + 2 * torch.randn(shape[0], 1, shape[2], generator=generator)
    n, q, width = shape
    between, within, means = np.zeros((width, width)), 1e-4 * np.eye(width), rows.double().numpy().mean(1)
    for image in range(n):
        between += np.outer(means[image] - means.mean(0), means[image] - means.mean(0)) / (n - 1)
        for view in rows[image].double().numpy():
            within += np.outer(view - means[image], view - means[image]) / (n * (q - 1))
    shares = scipy.linalg.eigh(between, within, eigvals_only=True).clip(0)
    shares = shares / shares.sum() + 1e-7
    assert lidar.lidar(rows) == pytest.approx(math.exp(-(shares * np.log(shares)).sum()), rel=1e-9)


def test_lidar_counts_the_directions_in_which_images_differ():
    """Four of eight channels tell images apart; in the others views of one image differ as much as images do."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(2000, 1, 8, generator=generator) * torch.tensor([1.0] * 4 + [0.0] * 4)
    noise = torch.randn(2000, 30, 8, generator=generator)
    assert lidar.lidar(centres + 0.01 * noise) == pytest.approx(4, abs=0.05)
    assert lidar.lidar(noise) == pytest.approx(8, abs=0.05)


@pytest.mark.parametrize(("count", "width", "power"), [(900, 128, 1.0), (900, 64, 2.5), (40, 8, 0.5)])
def test_alpha_req_is_numpys_weighted_line_through_the_spectrum(count, width, power):
    spread = torch.arange(1, width + 1).pow(-power / 2)
    rows = torch.randn(count, width, generator=torch.Generator().manual_seed(0)) * spread + 3
    values = np.linalg.eigvalsh(np.cov(rows.double().numpy().T))[::-1]
    first, last = (11, min(100, width)) if width > 20 else (1, width)
    places = np.arange(first, last + 1)
    slope, _ = np.polyfit(np.log(places), np.log(values[first - 1 : last]), 1, w=places**-0.5)  # polyfit squares w
    assert alpha_req.alpha(rows) == pytest.approx(-slope, rel=1e-4)
    assert alpha_req.alpha(rows) == pytest.approx(power, rel=0.35)


def test_alpha_req_of_a_collapsed_trunk_is_not_a_number():
    assert math.isnan(alpha_req.alpha(torch.ones(9, 4)))


def test_few_shot_is_perfect_on_points_and_better_with_more_images():
    sharp, soft = (dict(few_shot.few_shot_accuracy(frozen_rows(spread))) for spread in (1e-3, 1.5))
    assert sharp["few-shot, 1 a class, top1"] == 100 and sharp["few-shot, 10 a class, std over 20 draws"] == 0
    assert soft["few-shot, 1 a class, top1"] < soft["few-shot, 10 a class, top1"]
    assert dict(few_shot.few_shot_accuracy(frozen_rows(1.5))) == soft


def test_accuracies_of_the_classes_average_to_the_mean():
    found = dict(per_class.class_accuracies(frozen_rows(1.5)))
    mean = found.pop("mean over classes, top1")
    assert list(found) == [f"class {name}, top1" for name in "abc"]
    assert mean == pytest.approx(sum(found.values()) / 3)


@pytest.mark.parametrize("name", robustness.SHOWN)
def test_a_corruption_keeps_the_size_and_grows_with_its_severity(name):
    noise = np.random.default_rng(0).integers(30, 200, (12, 16, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((160, 120), Image.Resampling.BICUBIC)

    def far(severity):
        torch.manual_seed(0)
        changed = corrupted(image, name, severity)
        assert (changed.size, changed.mode) == (image.size, "RGB")
        return np.abs(np.asarray(changed, float) - np.asarray(image, float)).mean()

    distances = [far(severity) for severity in range(1, 6)]
    assert distances == sorted(distances) and distances[0] > 0.3


def test_brightness_adds_to_the_value_of_hsv():
    grey, colour = Image.new("RGB", (2, 2), (0, 0, 0)), Image.new("RGB", (2, 2), (100, 50, 0))
    assert corrupted(grey, "brightness", 1).getpixel((0, 0)) == (25, 25, 25)
    assert corrupted(colour, "brightness", 1).getpixel((0, 0)) == (125, 62, 0)  # rounded down, as in imagenet-c


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("place")
    paint_both(root / "colours", train=6, val=4)
    torch.manual_seed(0)
    export_trunk(root / "trunk.pth", build_trunk("resnet18")[0], "resnet18", {"step": 5, "seed": 0})
    return root


def command(place, out, *more):
    where = ["--checkpoint", f"{place}/trunk.pth", "--data", f"{place}/colours", "--out", str(out)]
    return ["readings", *where, "image_size=16", "workers=0", "device=cpu", "threads=1", *more]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of scikit-learn, about itself
def test_the_task_writes_every_reading_and_its_pictures(place, tmp_path):
    evaluate.main(command(place, tmp_path / "all.json"))
    result = results.load(tmp_path / "all.json")
    for words in (
        "few-shot, 5 a class",
        "class n02_green",
        "retrieval mAP",
        "RankMe",
        "pixelate, ImageNet-C's severity 3",
        "clean",
    ):
        assert any(words in name for name in result.metrics), words
    assert all(0 <= value <= 100 for value in result.metrics.values())
    assert result.artefacts["images"] == ["all-neighbours.png", "all-tsne.png"]
    sheet = Image.open(tmp_path / "all-neighbours.png")
    assert sheet.size == (104 * 9, 104 * 8) and Image.open(tmp_path / "all-tsne.png").size[0] > 300


def test_single_readings_are_chosen_and_unknown_ones_told(place, tmp_path):
    evaluate.main(command(place, tmp_path / "one.json", "readings=[rankme]"))
    assert list(results.load(tmp_path / "one.json").metrics) == ["RankMe, % of 512"]
    with pytest.raises(UserError, match=r"readings=\['umap'\] is not known: choose one of few_shot, per_class"):
        evaluate.main(command(place, tmp_path / "none.json", "readings=[umap]"))
