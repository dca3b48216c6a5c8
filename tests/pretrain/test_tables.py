"""configs/pretrain/table*: a row differs from the base recipe in the named thing only and quotes the paper's number."""

from __future__ import annotations

import dataclasses

import pytest

from helpers.repository import ROOT
from pretrain.config import Config, load
from pretrain.engine.learner import build_form
from pretrain.methods import ROWS, TABLE_2

FOLDER = ROOT / "configs" / "pretrain"
METHOD = [path for table in ("table2", "table3", "table6") for path in sorted((FOLDER / table).glob("*.yaml"))]
PROJECTOR = [path for table in ("table9", "table10") for path in sorted((FOLDER / table).glob("*.yaml"))]
EVERY = METHOD + PROJECTOR


def name(path):
    return f"{path.parent.name}/{path.stem}"


def differences(path):
    """Dotted options in which a configuration differs from the defaults, which are the base recipe."""
    mine, base = (dataclasses.asdict(load(Config, where)) for where in (path, None))
    return {
        f"{section}.{key}": value
        for section in mine.keys() - {"run_dir"}
        for key, value in mine[section].items()
        if value != base[section].get(key)
    }


def test_the_base_recipe_is_the_defaults_and_writes_out_what_unigrad_has_anyway():
    base = FOLDER / "unigrad_r50_100ep.yaml"
    assert differences(base) == {"method.balance": 100.0, "method.rho": 0.99}
    written, plain = build_form(load(Config, base)), build_form(load(Config, None))
    assert (written.balance, written.correlation.rho) == (plain.balance, plain.correlation.rho) == (100.0, 0.99)


def test_every_row_of_the_tables_is_there():
    names = [load(Config, path).method.name for path in METHOD]
    assert names[: len(TABLE_2)] == list(TABLE_2) and set(names) == set(ROWS) and len(names) == len(TABLE_2) + 9 + 2
    assert len(PROJECTOR) == 10


@pytest.mark.parametrize("path", METHOD, ids=name)
def test_a_method_differs_in_the_method_only_and_is_the_papers_row(path):
    assert all(option.startswith("method.") for option in differences(path))
    cfg = load(Config, path)
    written, own = build_form(cfg), build_form(load(Config, None, [f"method.name={cfg.method.name}"]))
    assert (type(written), vars_of(written)) == (type(own), vars_of(own))  # what is written out is the row's own


def vars_of(form):
    """Plain attributes of a form; those of its memory, too."""
    parts = [form, *form.children()]
    return [{key: value for key, value in vars(part).items() if isinstance(value, int | float | str)} for part in parts]


@pytest.mark.parametrize("path", PROJECTOR, ids=name)
def test_a_projector_differs_in_one_number_and_the_balance_follows_the_width(path):
    key, value = path.stem.split("_")
    base = load(Config, None).model
    option = f"model.projector_{key}"
    assert differences(path) in ({option: int(value)}, {})
    cfg = load(Config, path)
    assert (differences(path) == {}) == (int(value) == getattr(base, f"projector_{key}"))
    assert build_form(cfg).balance == pytest.approx(100 * cfg.model.projector_width / 2048)


@pytest.mark.parametrize("path", EVERY, ids=name)
def test_the_opening_comment_is_a_document(path):
    text = path.read_text(encoding="utf-8")
    comment = text[: text.index("\nm")]
    assert all(line.startswith("#") for line in comment.splitlines())
    for said in (
        f"--config configs/pretrain/{name(path)}.yaml",
        "Cost:",
        "38.2 h on 8 GPUs",
        "Expect:",
        "Not run here",
    ):
        assert said in " ".join(comment.replace("\n# ", " ").split())


def test_table_3_says_the_targets_in_its_names():
    for path in sorted((FOLDER / "table3").glob("*.yaml")):
        method = load(Config, path).method
        short = {"stop_gradient": "stop", "momentum": "momentum"}
        assert path.stem.endswith(f"{method.name}_{short[method.positive_target]}_{short[method.negative_target]}")
