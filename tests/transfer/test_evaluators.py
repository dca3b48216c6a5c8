"""transfer.evaluators and transfer.analysis: what the registries say, without torch, and the options of each entry."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from helpers.repository import ROOT
from pretrain.runtime.options import options
from transfer import tasks
from transfer.analysis import Reading, check_reading, readings
from transfer.evaluate import choose
from transfer.evaluators import Needs, evaluators
from transfer.options import Common, combined

SCHEMAS = {"common": Common, **{name: entry.options for name, entry in evaluators().items()}}


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)


def test_the_registries_and_the_help_need_no_torch():
    code = "import sys; sys.modules['torch'] = None\nfrom transfer import results; print(*results.TASKS)"
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [*evaluators(), "detection", "segmentation", "semantic"]


def test_help_lists_every_evaluator_reading_and_option_or_those_that_hold_a_word():
    code = "import sys; sys.modules['torch'] = None; from tools import evaluate; evaluate.main({})"
    everything, some = python(code.format(["--help"])), python(code.format(["--help", "momentum"]))
    assert everything.returncode == some.returncode == 0, everything.stderr + some.stderr
    names = [one.name for schema in SCHEMAS.values() for one in options(schema)]
    assert all(f"\n  {name}=" in everything.stdout for name in names)
    assert all(re.search(rf"\n  {name}\s", everything.stdout) for name in [*evaluators(), *readings()])
    held = [line.strip() for line in some.stdout.splitlines() if "=" in line]
    assert held == ["head.momentum=0.9", "head.momentum=0.9", "momentum=0.9"]  # of linear, stages and semi


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_option_has_a_help_and_every_number_that_needs_one_a_range(name):
    for one in options(SCHEMAS[name]):
        assert one.rule is not None and one.rule.help, one.name
        assert not one.rule.help.endswith("."), one.name


def test_files_keep_the_order_of_tasks_and_a_headline_is_one_of_the_metrics():
    frozen = ["knn", "linear", "multilabel", "svm", "stages", "semi", "variants", "corruptions", "readings"]
    assert list(evaluators()) == [*frozen, "transfer", "transfer_finetune", "dense", "depth"]
    assert tasks.headline("segmentation", ["bbox AP", "segm AP"]) == "segm AP"
    assert tasks.headline("knn", ["top1 k=200 T=0.1", "top1 k=20 T=0.07"]) == "top1 k=200 T=0.1"
    assert tasks.shown_metrics("linear", ["top1", "top5"]) == ["top1"]
    assert tasks.shown_metrics("knn", ["top1 k=200", "top1 k=20"]) == ["top1 k=200", "top1 k=20"]
    assert tasks.display_name("semantic") == "Semantic segmentation" and tasks.unit("linear", "top1") == "%"


@pytest.mark.parametrize(
    ("words", "needs"),
    [
        ("knn", Needs.FROZEN_ROWS),
        ("linear probe=fast", Needs.FROZEN_ROWS),
        ("linear probe=augmented", Needs.TRUNK),
        ("semi", Needs.TRUNK),
        ("readings", Needs.FROZEN_ROWS),
    ],
)
def test_an_evaluator_says_what_it_needs_under_its_options(words, needs):
    name, *overrides = words.split()
    chosen = choose(name, None, overrides)
    assert chosen.evaluator.needs(chosen.own) is needs and chosen.evaluator.several_processes


def test_options_of_another_evaluator_are_read_past_and_are_no_settings():
    chosen = choose("knn", None, ["k=7", "probe=fast", "head.epochs=3"])
    assert chosen.own.k == 7 and "probe" not in chosen.settings() and "image_size" in chosen.settings()


def test_of_two_options_with_one_name_the_first_counts():
    schema = combined([evaluators()["semi"].options, evaluators()["linear"].options])
    names = [one.name for one in options(schema)]
    assert names.count("epochs") == 1 and "head.epochs" in names


def test_a_reading_whose_library_is_missing_is_told_with_the_command_that_installs_it():
    reading = Reading("maps", "maps", lambda _: iter(()), needs={"no_such_module": "no-such-package"})
    with pytest.raises(ValueError, match="the reading maps needs no-such-package: pip install no-such-package"):
        check_reading(reading, 100)
