"""What a report of a bug says, and which commands and configurations there are."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from helpers.repository import CONFIGS, ROOT
from pretrain.runtime.errors import UserError
from pretrain.runtime.repository import shipped
from tools.commands import configurations, environment
from tools.commands.listing import commands


def test_the_versions_are_those_of_the_installed_libraries() -> None:
    told = environment.libraries()
    assert told["torch"] == metadata.version("torch") and told["pillow"] == metadata.version("pillow")
    absent = [name for name, version in told.items() if version == "not installed"]
    for name in absent:
        with pytest.raises(metadata.PackageNotFoundError):
            metadata.version(name)


def test_variables_are_told_without_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNIGRAD_DATA", "https://me:secret@host/train.zip?token=secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    told = environment.text({"variables": environment.variables()})
    assert "  UNIGRAD_DATA https://" in told and "secret" not in told


def test_facts_are_lines_with_lists_below_their_names() -> None:
    told = environment.text({"a": 1, "b": ["x", "y"], "c": {"d": "e"}, "f": []})
    assert told.splitlines() == ["a: 1", "b:", "  x", "  y", "c:", "  d e", "f: none"]


def test_torch_and_its_gpus_are_those_that_torch_names() -> None:
    import torch

    told = environment.of_torch()
    assert told["torch"] == torch.__version__ and len(told["GPUs"]) == torch.cuda.device_count()


def test_every_tool_has_a_line_of_its_own_words() -> None:
    told = commands()
    assert {command.file for command in told.values()} == set((ROOT / "tools").glob("[!_]*.py"))
    assert all(len(command.about) >= 20 or command.about[0].isupper() for command in told.values())
    assert told["detection"].file.name == "train_detection.py"
    assert told["convert"].about == "Convert a pretrained trunk"


def test_configurations_are_listed_and_copied_once(tmp_path: Path) -> None:
    names = {path.relative_to(ROOT).as_posix() for path in (CONFIGS / "pretrain").rglob("*.yaml")}
    lines = configurations.listed(Path("configs/pretrain")).splitlines()
    assert {line.split()[0] for line in lines} == names
    assert configurations.copy(Path("configs/pretrain"), tmp_path) == len(names)
    assert all((tmp_path / name).read_bytes() == (ROOT / name).read_bytes() for name in names)
    with pytest.raises(UserError, match="is there already"):
        configurations.copy(Path("configs/pretrain/table2"), tmp_path)
    with pytest.raises(UserError, match="no configuration below"):
        configurations.files(Path("configs/../docs"))


def test_a_file_here_goes_before_the_one_that_came_with_the_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = Path("configs/demo.yaml")
    assert shipped(name) == CONFIGS / "demo.yaml" and shipped(Path("configs/absent.yaml")) == Path(
        "configs/absent.yaml"
    )
    (tmp_path / "configs").mkdir()
    (tmp_path / name).touch()
    assert shipped(name) == name
