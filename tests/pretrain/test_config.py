"""A misspelt or ill-typed option ends in one sentence with the nearest valid name; good ones arrive."""

from __future__ import annotations

import pytest

from helpers.repository import ROOT
from pretrain.config import Config, load
from pretrain.runtime.errors import UserError
from pretrain.train import ready

CONFIGS = sorted((ROOT / "configs" / "pretrain").rglob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_configuration_loads_and_can_run(path):
    cfg = load(Config, path, ["run_dir=somewhere", "data.root=images"])
    assert ready(cfg).type in ("cpu", "cuda")


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("optim.base_lrr=1", "optim.base_lr"),
        ("optm.base_lr=1", "optim.base_lr"),
        ("base_lr=1", "optim.base_lr"),
        ("batch_size=8", "optim.batch_size"),
    ],
)
def test_a_misspelt_option_names_the_nearest(override, nearest):
    with pytest.raises(UserError, match=f"did you mean '{nearest}'"):
        load(Config, None, [override])


def test_a_wrong_type_is_told_with_the_option_and_the_value():
    with pytest.raises(UserError, match="'optim.epochs'.*'ten'"):
        load(Config, None, ["optim.epochs=ten"])


def test_a_key_misspelt_in_yaml_names_the_file(tmp_path):
    (tmp_path / "typo.yaml").write_text("model:\n  ach: resnet18\n")
    with pytest.raises(UserError, match=r"typo.yaml.*'model.ach'.*'model.arch'"):
        load(Config, tmp_path / "typo.yaml")


def test_overrides_win_over_yaml_and_yaml_over_defaults(tmp_path):
    (tmp_path / "some.yaml").write_text("optim:\n  epochs: 7\n  batch_size: 64\n")
    cfg = load(Config, tmp_path / "some.yaml", ["optim.epochs=9"])
    assert (cfg.optim.epochs, cfg.optim.batch_size, cfg.optim.base_lr) == (9, 64, 0.05)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("run_dir=", "run_dir"),
        ("data.root=", "data.root"),
        ("run.precision=fp8", "run.precision"),
        ("model.arch=vit", "model.arch"),
        ("method.name=byol2", "method.name"),
        ("optim.warmup_epochs=100", "optim.warmup_epochs"),
        ("optim.batch_size=1", "optim.batch_size"),
        ("run.device=tpu", "run.device"),
    ],
)
def test_an_impossible_value_is_named_before_anything_is_read(override, named):
    with pytest.raises(UserError, match=named):
        ready(load(Config, None, ["run_dir=r", "data.root=d", override]))
