"""The recipe "A new row of Table 2" of docs/extending.md: three files; the row is tested, listed, trained, priced."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers import recipes, tiny_runs

HEADING = "A new row of Table 2"
CONFIG = "configs/pretrain/table2/k_decoupled.yaml"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recipes.carry_out(HEADING, tmp_path_factory.mktemp("row"))


def _output(copy: Path, *command: str) -> str:
    done = recipes.run_in(copy, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_recipe_is_the_form_its_oracle_and_a_configuration():
    assert list(recipes.files_of(HEADING)) == [
        "pretrain/methods/decoupled.py",
        "tests/helpers/oracles/decoupled.py",
        CONFIG,
    ]


def test_its_gradient_is_autograd_of_its_oracle(copy):
    """And what the tests ask of every row: memory that is saved, and target branches that can be chosen."""
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/pretrain/test_methods.py", "-k", "decoupled"]
    assert "5 passed" in _output(copy, *words)


def test_help_lists_its_options(copy):
    told = _output(copy, "tools/pretrain.py", "--help", "method")
    own = told.split("With method.name=decoupled")[1].split("With method.name=")[0]
    assert "method.temperature=0.1" in own and "row k of Table 2" in own and "above 0" in own


def test_it_trains_and_writes_a_trunk(copy, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    words = [*tiny_runs.TINY, f"data.root={tiny_runs.write_images(images)}", f"run_dir={tmp_path / 'run'}"]
    _output(copy, "tools/pretrain.py", "--config", CONFIG, *words, "method.temperature=0.2")
    assert (tmp_path / "run/export/trunk.pth").is_file()
    assert "temperature: 0.2" in (tmp_path / "run/config.yaml").read_text()


def test_scaling_prices_it(copy):
    """Two views of 64 images of 2048 float32 channels: 1.05 MB, gathered once."""
    told = _output(copy, "tools/scaling.py", "--config", CONFIG, "optim.batch_size=512", "--per-node", "8")
    assert "| rows | all_gather | 1.05 | 1 |" in told
