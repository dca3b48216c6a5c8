"""The fingerprint of a recipe: the same for repetitions, another for everything else, and written into every trunk."""

from __future__ import annotations

import pytest
import torch
import yaml

from helpers.tiny_runs import configure, write_images
from pretrain.engine.recipe import fingerprint
from pretrain.train import train


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"))


def trained(images, run_dir, *words):
    """What the trunk and the untrained network of a run say of its recipe, and its configuration as it was written."""
    train(configure(images, run_dir, "optim.epochs=1", "optim.warmup_epochs=0", *words))
    files = [run_dir / "export" / name for name in ("trunk.pth", "initial.pth")]
    told = {torch.load(file, weights_only=True)["meta"]["recipe"] for file in files}
    return told, yaml.safe_load((run_dir / "config.yaml").read_text())


def test_trunks_of_two_seeds_tell_one_recipe_and_that_is_their_files(images, tmp_path):
    (first, written), (second, _) = (trained(images, tmp_path / f"{seed}", f"run.seed={seed}") for seed in (0, 1))
    assert first == second == {fingerprint(written)}
    assert trained(images, tmp_path / "other", "method.balance=2.0")[0].isdisjoint(first)


@pytest.mark.parametrize(
    ("section", "key", "value", "same"),
    [
        ("run", "seed", 7, True),
        ("run", "log_every", 3, True),
        ("data", "workers", 3, True),
        ("method", "temperature", None, True),  # what earlier code wrote of the options of other rows
        ("run", "precision", "bf16", False),
        ("data", "root", "elsewhere", False),
        ("optim", "base_lr", 0.1, False),
        ("model", "init", "trunk.pth", False),
        ("views", "size", 64, False),
    ],
)
def test_only_what_a_recipe_has_changes_it(section, key, value, same):
    tree = {name: {} for name in ("run", "data", "method", "optim", "model", "views")} | {"run_dir": "a"}
    changed = tree | {section: {key: value}, "run_dir": "b"}
    assert (fingerprint(changed) == fingerprint(tree)) == same
