"""transfer/report/published: the numbers are the publications', and no comment of a configuration drifts from them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from helpers.repository import ROOT
from pretrain import config, methods
from pretrain.engine.learner import fill_balance
from transfer.report.published.tables import PublishedRow, expected_top1, published_tables

CONFIGS = ROOT / "configs"
# those of pretrain/recipes/ cite the papers of other methods, whose tables are not kept here
OWN = [path for path in sorted(CONFIGS.rglob("*.yaml")) if path.parent != CONFIGS / "pretrain" / "recipes"]
RECIPES = [path for path in OWN if "% linear top-1 on ImageNet" in path.read_text("utf-8")]
CITING = [path for path in OWN if "Expect" in path.read_text("utf-8")]
VALUE = re.compile(r"(?<![\d.])\d\d\.\d(?![\d])")
# ImageNet linear top-1 after 100 epochs, spelt out here independently
TABLE_2 = (70.0, 70.0, 70.3, 70.2, 70.3, 69.0, 69.7, 70.0, 70.0, 69.8)
TABLE_3 = (67.6, 67.9, 67.6, 70.0, 70.2, 69.8, 70.1, 70.3, 69.8)
TABLE_9 = (60.7, 65.2, 70.3, 70.0, 69.8)
TABLE_10 = (68.3, 70.3, 70.5, 70.9, 71.2)


def rows_with_configurations() -> list[PublishedRow]:
    return [row for table in published_tables() for row in table.rows if row.config]


def expectation(path: Path) -> str:
    """The sentences of a configuration's opening comment on what to expect, on one line."""
    comment = re.match(r"(#.*\n)*", path.read_text("utf-8"))
    assert comment
    words = " ".join(comment[0].replace("\n# ", " ").split())
    return re.split("Not run here|PyContrast reports", words.partition("Expect")[2])[0]


def test_numbers_are_the_papers() -> None:
    by_anchor = {table.anchor: table for table in published_tables("accuracy")}
    for anchor, values in (("table-2", TABLE_2), ("table-3", TABLE_3), ("table-9", TABLE_9), ("table-10", TABLE_10)):
        assert [row.values for row in by_anchor[anchor].rows] == [[value] for value in values]
    values = {(table.anchor, row.name): tuple(row.values) for table in by_anchor.values() for row in table.rows}
    assert values["table-3", "asymmetric, 2(e): positive momentum, negative stop-gradient"] == (70.3,)
    assert values["table-4", "UniGrad+CutMix+multi-crop"] == (72.3, 114.6)
    assert values["table-5", "UniGrad+CutMix"] == (74.9,) and values["table-5", "BYOL"] == (74.3,)
    assert values["table-11-1", "UniGrad"] == (60.8, 83.8) and values["table-11-10", "TWIST"] == (71.7, 91.0)
    assert [len(table.rows) for table in by_anchor.values()] == [10, 9, 4, 10, 5, 5, 7, 7]


def test_every_value_has_a_unit_and_every_table_a_source_and_an_anchor_of_its_own() -> None:
    tables = published_tables()
    assert len({table.anchor for table in tables}) == len(tables)
    for table in tables:
        assert table.source and all(len(row.values) == len(table.metrics) for row in table.rows)
        assert all(table.units[metric] in ("percent", "hours") for metric in table.metrics)


def load_recipe(name: str) -> config.Config:
    return config.load(config.Config, CONFIGS / "pretrain" / f"{name}.yaml")


@pytest.mark.parametrize("row", rows_with_configurations(), ids=lambda row: row.config)
def test_a_rows_settings_are_those_of_its_configuration(row: PublishedRow) -> None:
    cfg = load_recipe(row.config)
    own = methods.find(cfg.method.name).targets
    targets = zip(("positive_target", "negative_target"), own, strict=True)
    usual: dict[str, Any] = {f"method.{name}": target for name, target in targets}
    assert row.settings is not None and row.epochs == cfg.optim.epochs
    for name, wanted in row.settings.items():
        section, _, key = name.partition(".")
        value = getattr(getattr(cfg, section), key)
        assert (usual[name] if value is None else value) == wanted, name


@pytest.mark.parametrize(
    "row", [row for row in rows_with_configurations() if row.in_folder], ids=lambda row: row.config
)
def test_a_row_in_a_folder_is_the_run_of_the_configuration_that_writes_every_value_out(row: PublishedRow) -> None:
    short, full = (fill_balance(load_recipe(name)) for name in row.configs)
    usual = vars(methods.find(full.method.name).defaults())
    options = ({name: one for name, one in vars(cfg.method).items() if one is not None} for cfg in (short, full))
    assert usual | next(options) == usual | next(options)
    assert replace(short, method=full.method) == full


def test_every_recipe_that_cites_a_number_is_the_row_of_one() -> None:
    assert {str(path.relative_to(CONFIGS / "pretrain").with_suffix("")) for path in RECIPES} == {
        name for row in rows_with_configurations() for name in row.configs
    }
    assert expected_top1(CONFIGS / "pretrain" / "table2" / "c_simsiam.yaml") is None


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_number_to_expect_of_a_recipe_is_its_rows(path: Path) -> None:
    assert [float(value) for value in VALUE.findall(expectation(path))] == [expected_top1(path)]
    assert f"(paper, Table {_table_of(path)}" in expectation(path)


def _table_of(path: Path) -> str:
    relative = str(path.relative_to(CONFIGS / "pretrain").with_suffix(""))
    cited = [table for table in published_tables() if any(relative in row.configs for row in table.rows)]
    # the base recipe is a row of Table 4, too: its header cites row e of Table 2, which has the same number
    return "2" if relative == "unigrad_r50_100ep" else cited[0].name.removeprefix("Table ")


@pytest.mark.parametrize("path", [one for one in CITING if "Table" in expectation(one)], ids=lambda path: path.stem)
def test_what_a_header_cites_of_the_papers_tables_stands_in_them(path: Path) -> None:
    """Those of detectors by MoCo on COCO cite another publication, which is in no table of ours."""
    words = expectation(path)
    cited = [number for number in re.findall(r"Table (\d+)", words) if "CVPR 2020" not in words]
    known = {
        value for table in published_tables() if table.name[6:] in cited for row in table.rows for value in row.values
    }
    assert not cited or {float(value) for value in VALUE.findall(words)} <= known
