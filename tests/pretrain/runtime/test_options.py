"""Options carry their help and range; values outside are refused; --help lists them all, without torch."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from helpers.repository import ROOT
from pretrain import config
from pretrain.methods import ROWS
from pretrain.runtime.errors import UserError
from pretrain.runtime.options import check, describe, fill, option, options

SCHEMAS = {"pretraining": config.Config(), **{name: row.defaults() for name, row in ROWS.items()}}


@dataclasses.dataclass
class Inner:
    """A section."""

    size: int = option(8, "side", at_least=1, below=100, unit="pixels")
    shares: list[float] = option([0.5], "parts", above=0, at_most=1)


@dataclasses.dataclass
class Outer:
    """A schema."""

    kind: str = option("plain", "which", choices=("plain", "fancy"))
    inner: Inner = dataclasses.field(default_factory=Inner)


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_option_has_help_and_every_number_a_bound_or_choices(name):
    for one in options(SCHEMAS[name]):
        assert one.rule and one.rule.help, f"{one.name} has no help"
        if one.type.split(" ")[0] in ("int", "float") and not one.rule.choices:
            bounds = (one.rule.at_least, one.rule.above)
            assert any(bound is not None for bound in bounds), f"{one.name} has no lower bound"


@pytest.mark.parametrize("name", SCHEMAS)
def test_defaults_are_in_their_range(name):
    check(SCHEMAS[name])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"size": 0}, "inner.size=0 is out of range: it must be at least 1 and below 100 pixels"),
        ({"size": 100}, "inner.size=100 is out of range"),
        ({"size": 10**400}, "is out of range: it must be of at most 19 digits and at least 1"),
        ({"shares": [float("inf")]}, "is out of range: it must be finite and above 0"),
        ({"shares": [float("nan")]}, "is out of range: it must be finite and above 0"),
        ({"shares": [0.5, 2.0]}, r"inner.shares=\[0.5, 2.0\] is out of range: it must be above 0 and at most 1"),
        ({"shares": [float("nan")]}, "finite"),
    ],
)
def test_a_value_out_of_range_is_told_with_its_range(change, told):
    with pytest.raises(UserError, match=told):
        check(Outer(inner=Inner(**change)))


def test_an_unknown_choice_names_the_nearest():
    with pytest.raises(UserError, match=r"kind=fanci is not known \(did you mean fancy\?\)"):
        check(Outer(kind="fanci"))


def test_the_listing_has_default_meaning_and_range():
    told = describe(Outer)
    assert "  kind=plain\n      which (one of plain, fancy)" in told
    assert "  inner.size=8\n      side (at least 1 and below 100 pixels)" in told
    assert "inner" not in describe(Outer, "kind")


def test_filling_refuses_another_type_and_an_unknown_name():
    assert fill(Inner(), {"size": 9}, "here").size == 9
    with pytest.raises(UserError, match="here: option 'size' has the wrong type"):
        fill(Inner(), {"size": "wide"}, "here")
    with pytest.raises(UserError, match="did you mean 'size'"):
        fill(Inner(), {"sise": 9}, "here")


def test_a_configuration_with_the_options_of_all_rows_at_null_still_loads(tmp_path):
    """As earlier code wrote it."""
    names = ("rho", "temperature", "eps", "predictor_every", "queue_size", "hidden", "variance", "gamma")
    nulls = "".join(f"  {name}: null\n" for name in names if name != "temperature")
    (tmp_path / "config.yaml").write_text(f"method:\n  name: simclr\n  temperature: 0.3\n{nulls}")
    method = config.load(config.Config, tmp_path / "config.yaml").method
    assert dataclasses.asdict(method) == {
        "name": "simclr",
        "balance": None,
        "positive_target": None,
        "negative_target": None,
        "library": None,
        "temperature": 0.3,
    }
    again = tmp_path / "again.yaml"
    again.write_text(config.dump(config.load(config.Config, tmp_path / "config.yaml")))
    assert config.load(config.Config, again).method == method


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["method.name=simclr", "method.rho=0.9"], "method.rho is not an option of simclr: it has temperature"),
        (["method.rhoo=0.9"], "did you mean 'method.rho'"),
        (["method.rho=much"], "'method.rho' has the wrong type"),
        (["method.name=simcl"], "did you mean simclr"),
    ],
)
def test_an_option_that_the_row_has_not_is_told(words, told):
    with pytest.raises(UserError, match=told):
        config.load(config.Config, None, words)


def test_null_takes_back_an_option_of_another_row():
    words = ["method.rho=0.9", "method.name=simclr", "method.rho=null"]
    assert not hasattr(config.load(config.Config, None, words).method, "rho")


@pytest.mark.parametrize("tool", ["pretrain", "scaling"])
def test_help_answers_without_torch_and_a_word_filters(tool):
    code = f"import sys; sys.modules['torch'] = None; from tools import {tool} as tool; tool.main(sys.argv[1:])"
    whole, part = (
        subprocess.run(
            [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for words in (["--help"], ["--help", "views.hue"])
    )
    assert all(f"  {one.name}=" in whole for one in options(config.Config))
    assert part.count("=") == 1 and "views.hue=0.1" in part
