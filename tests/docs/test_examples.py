"""The examples: each loop trains, at tiny size, and those of the libraries compute what the plain one does."""

from __future__ import annotations

import copy
import importlib
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from helpers.oracles.contrastive import simclr
from helpers.repository import ROOT

FOLDER = ROOT / "docs" / "examples"
STEPS, IMAGES, SIDE = 3, 4, 32


@pytest.fixture
def examples(monkeypatch):
    """The modules by name, imported as from their own folder."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module
    for path in FOLDER.glob("*.py"):
        sys.modules.pop(path.stem, None)


@pytest.fixture
def branches(examples):
    """Two branches around a network of a few weights."""
    torch.manual_seed(0)
    made = examples("parts").Branches()
    trunk = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    made.online = nn.Sequential(trunk, nn.Linear(8, examples("parts").WIDTH))
    made.target = copy.deepcopy(made.online).requires_grad_(False)
    return made


def views():
    """The same batches for everyone."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, IMAGES, 3, SIDE, SIDE, generator=generator) for _ in range(STEPS)]


def weights(branches):
    """All of them, as one vector."""
    return torch.cat([one.flatten() for one in branches.state_dict().values()])


def test_a_step_of_the_plain_loop_is_one_of_the_explicit_loss(examples, branches):
    by_hand = copy.deepcopy(branches)
    examples("plain_torch").train(branches, views(), steps=1, method="simclr")
    by_hand.follow()
    online, targets = by_hand(views()[0])
    settings = SimpleNamespace(temperature=examples("pretrain.methods").build("simclr").temperature, balance=1.0)
    simclr(online, targets, None, settings).backward()
    with torch.no_grad():
        for weight in by_hand.online.parameters():
            weight -= 0.1 * weight.grad
    torch.testing.assert_close(weights(branches), weights(by_hand), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "library"),
    [("lightly_loop", "lightly"), ("accelerate_loop", "accelerate"), ("lightning_module", "lightning")],
)
@pytest.mark.filterwarnings("ignore")  # those of the libraries about themselves
def test_the_loop_of_a_library_trains_as_the_plain_one(examples, branches, name, library):
    pytest.importorskip(library, reason=f"pip install {library}")
    start, plain = weights(branches), copy.deepcopy(branches)
    examples("plain_torch").train(plain, views(), STEPS)
    given = [([*batch], None, None) for batch in views()] if library == "lightly" else views()
    examples(name).train(branches, given, STEPS)
    torch.testing.assert_close(weights(branches), weights(plain), rtol=1e-5, atol=1e-7)
    assert not torch.equal(weights(branches), start)


def test_two_views_of_an_image_differ_and_a_small_folder_is_one_batch(examples, tmp_path):
    from PIL import Image

    for place in range(3):
        path = tmp_path / "class" / f"{place}.png"
        path.parent.mkdir(exist_ok=True)
        Image.effect_noise((40, 40), 80).convert("RGB").save(path)
    batch = next(examples("parts").batches(tmp_path, size=16))
    assert batch.shape == (2, 3, 3, 16, 16) and not torch.equal(batch[0], batch[1])
