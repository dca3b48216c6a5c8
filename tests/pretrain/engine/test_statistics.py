"""Mean, deviation and channels of the images: measured, refused, trained with, exported, and used by evaluation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torchvision.transforms import v2

from helpers.tiny_runs import RESNET18, TINY, configure
from pretrain import load_trunk
from pretrain.augment.normalisation import normalise
from pretrain.config import Config, load
from pretrain.data.sources import open_source
from pretrain.engine.statistics import measure
from pretrain.engine.validate import ready
from pretrain.models.pixels import IMAGENET, Pixels
from pretrain.runtime.errors import UserError
from pretrain.train import train
from pretrain.weights.read_trunk import read_trunk
from pretrain.weights.trunk import build_trunk
from transfer.convert.write import provenance_of
from transfer.datasets.labelled import open_labelled
from transfer.features.extract import extract

SHORT = ["optim.epochs=1", "optim.warmup_epochs=0"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """train/ and val/ with two classes of ten dark pictures each, one of them damaged; of two sizes, half grey."""
    root, generator = tmp_path_factory.mktemp("dark"), np.random.default_rng(0)
    for index in range(20):
        for part in ("train", "val"):
            where = root / part / "ab"[index % 2]
            where.mkdir(parents=True, exist_ok=True)
            shape = (40 + 8 * (index % 3), 48) + ((3,) if index % 4 < 2 else ())
            Image.fromarray(generator.integers(0, 60, shape, dtype=np.uint8)).save(where / f"{index:02d}.png")
    damaged = root / "train" / "a" / "00.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    return root


@pytest.mark.parametrize("channels", [3, 1])
def test_statistics_are_those_of_numpy_with_every_image_counted_alike(folder, channels):
    found = measure(open_source(folder / "train"), channels)
    each = []
    for path in sorted((folder / "train").rglob("*.png"))[1:]:
        picture = Image.open(path).convert("RGB" if channels == 3 else "L")
        each.append(np.asarray(picture, float).reshape(-1, channels) / 255)
    mean = np.mean([one.mean(0) for one in each], 0)
    deviation = np.sqrt(np.mean([np.square(one).mean(0) for one in each], 0) - mean**2)
    np.testing.assert_allclose(found.mean, mean, atol=6e-5)
    np.testing.assert_allclose(found.std, deviation, atol=6e-5)
    assert found == measure(open_source(folder / "train"), channels)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["data.channels=1", "data.mean=[.5,.5,.5]", "data.std=[.2]"], "data.mean=\\[0.5,0.5,0.5\\] is of 3 channels"),
        (["data.channels=1"], "data.mean=imagenet is of 3 channels, but data.channels=1: give 1 number, or auto"),
        (["data.mean=[.5]", "data.std=[.5]"], "is of 1 channels, but data.channels=3: give 3 numbers"),
        (["data.mean=[.5,.5,.5]", "data.std=[.5,.5]"], "data.std=\\[0.5,0.5\\] is of 2 channels"),
        (["data.mean=auto"], "data.mean=auto does not go with data.std=imagenet"),
        (["data.mean=[123,117,104]", "data.std=[58,57,57]"], "data.mean=.* is out of range: .* at most 1"),
        (["data.channels=4"], "choose one of 1, 3"),
    ],
)
def test_statistics_that_do_not_fit_are_refused(words, told):
    with pytest.raises(UserError, match=told):
        ready(load(Config, None, [*TINY, "run_dir=r", "data.root=d", *words]))


def test_images_of_one_colour_and_unreadable_ones_have_no_statistics(tmp_path):
    Image.new("RGB", (8, 8), (3, 4, 5)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="are of one colour: give numbers"):
        measure(open_source(tmp_path), 3)
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match="no image of a sample"):
        measure(open_source(tmp_path), 3)


def test_grey_is_torchvisions_and_a_grey_picture_keeps_its_values():
    images = torch.randint(0, 256, (2, 3, 9, 9), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    grey = v2.functional.pil_to_tensor(v2.functional.to_pil_image(images[0]).convert("L"))
    found = normalise(images, Pixels((0.25,), (0.5,)))
    assert found.shape == (2, 1, 9, 9)
    torch.testing.assert_close(found[0], (grey.float() / 255 - 0.25) / 0.5, rtol=0, atol=1e-6)
    same = images[:, :1].expand(-1, 3, -1, -1)
    torch.testing.assert_close(normalise(same, Pixels((0.0,), (1.0,))), images[:, :1] / 255, rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def grey_run(folder, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("grey") / "run"
    words = [RESNET18, "data.channels=1", "data.mean=auto", "data.std=auto", f"data.val={folder / 'val'}", *SHORT]
    train(configure(folder / "train", run_dir, *words))
    return run_dir


def test_what_was_measured_is_written_into_the_run_and_its_files(folder, grey_run):
    expected = measure(open_source(folder / "train"), 1)
    data = yaml.safe_load((grey_run / "config.yaml").read_text())["data"]
    assert (data["mean"], data["std"], data["channels"]) == (list(expected.mean), list(expected.std), 1)
    for file in (grey_run / "export" / "trunk.pth", *(grey_run / "checkpoints").glob("*.pth")):
        trunk = read_trunk(file)
        assert Pixels(*trunk.pixels) == expected and trunk.channels == 1 and trunk.pixels_from == "the file says"
        assert load_trunk(file)(torch.zeros(1, 1, 32, 32)).shape == (1, 512)


def test_evaluation_scales_images_by_what_the_file_says(folder, grey_run):
    data, trunk = open_labelled(folder), read_trunk(grey_run / "export" / "trunk.pth")
    given = (32, 36, 4, 0, torch.device("cpu"))
    found = extract(build_trunk(trunk), data.val, *given, what=None)
    (mean,), (std,) = trunk.pixels
    plain = load_trunk(grey_run / "export" / "trunk.pth")
    test = v2.Compose([v2.Resize(36), v2.CenterCrop(32)])
    for index in (0, 5, 13):
        picture = test(Image.open(folder / "val" / found.names[index]).convert("RGB")).convert("L")
        image = (torch.from_numpy(np.array(picture)).float() / 255 - mean) / std
        with torch.inference_mode():
            torch.testing.assert_close(found.rows[index], plain(image[None, None])[0], rtol=1e-4, atol=1e-5)


def test_a_trunk_of_grey_images_is_refused_where_colour_is_taken(grey_run, tmp_path):
    from tools.convert import main

    for library, ending in (("detectron2", "pkl"), ("timm", "pth"), ("safetensors", "safetensors")):
        with pytest.raises(UserError, match="takes grey images .data.channels=1., for which"):
            main([str(grey_run / "export" / "trunk.pth"), str(tmp_path / f"out.{ending}"), "--to", library])


def test_numbers_travel_from_the_command_to_what_a_conversion_says(folder, tmp_path):
    words = ["data.mean=[.1,.2,.3]", "data.std=[.4,.5,.6]", *SHORT]
    file = train(configure(folder / "train", tmp_path / "run", *words))
    trunk = read_trunk(file)
    assert trunk.pixels == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)) != IMAGENET
    assert provenance_of(file, trunk)["input"]["mean"] == [0.1, 0.2, 0.3]


def test_a_run_goes_on_with_what_it_measured_and_with_nothing_else(folder, grey_run):
    words = [RESNET18, "data.channels=1", f"data.val={folder / 'val'}", "optim.epochs=2", "optim.warmup_epochs=0"]
    train(configure(folder / "train", grey_run, *words, "data.mean=auto", "data.std=auto"))
    with pytest.raises(UserError, match="data.mean and data.std cannot change"):
        train(configure(folder / "train", grey_run, *words, "data.mean=[.5]", "data.std=[.5]"))


def test_greys_of_12_bits_in_16_are_scaled_in_training_and_in_evaluation(tmp_path):
    generator, deep = np.random.default_rng(0), []
    for index in range(8):
        for part in ("train", "val"):
            where = tmp_path / part / "ab"[index % 2]
            where.mkdir(parents=True, exist_ok=True)
            values = generator.integers(0, 4096, (40, 40), dtype=np.uint16)
            Image.fromarray(values).save(where / f"{index}.png")
            deep += [values] if part == "train" else []
    words = ["data.channels=1", "data.mean=auto", "data.std=auto", "data.bits=12", *SHORT]
    file = train(configure(tmp_path / "train", tmp_path / "run", *words))
    for one in (file, *(tmp_path / "run" / "checkpoints").glob("*.pth")):
        trunk = read_trunk(one)
        assert trunk.bits == 12
        scaled = np.stack(deep) >> 4  # to 8 bits, of which the mean is half of white
        np.testing.assert_allclose(trunk.pixels, ([scaled.mean() / 255], [scaled.std() / 255]), atol=6e-5)
    data = open_labelled(tmp_path).of_bits(trunk.bits)
    given = (32, 36, 4, 0, torch.device("cpu"))
    found = extract(build_trunk(trunk), data.val, *given, what=None)
    eight = tmp_path / "eight"
    for path in (tmp_path / "val").rglob("*.png"):
        values = (np.asarray(Image.open(path)) >> 4).astype(np.uint8)
        (eight / path.parent.name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(eight / path.parent.name / path.name)
    expected = extract(build_trunk(trunk), open_source(eight), *given, what=None)
    assert torch.equal(found.rows[:], expected.rows[:]) and found.names == expected.names
