"""The fuzz tests' own tools: faults of every kind that they look for are found, and the fixed search is fixed."""

import time

import pytest
from hypothesis import strategies

from helpers import fuzzing
from helpers.fuzzing import outcome, search
from pretrain.runtime.errors import UserError


def test_what_is_returned_and_what_is_refused_are_the_outcomes(tmp_path):
    def refuse():
        raise UserError("a file is damaged: copy it again.")

    assert outcome(lambda: 3, tmp_path) == 3
    assert str(outcome(refuse, tmp_path)) == "a file is damaged: copy it again."


def test_tracebacks_hangs_memory_and_files_left_behind_are_found(tmp_path, monkeypatch):
    def leave():
        (tmp_path / "part").write_text("half")
        raise UserError("refused.")

    with pytest.raises(KeyError):
        outcome(lambda: {}["absent"], tmp_path)
    with pytest.raises(AssertionError, match="left a file behind"):
        outcome(leave, tmp_path)
    with pytest.raises(MemoryError):
        outcome(lambda: bytearray(fuzzing.MEMORY + (1 << 26)), tmp_path)
    monkeypatch.setattr(fuzzing, "HANG", 1)
    with pytest.raises(TimeoutError):
        outcome(lambda: time.sleep(30), tmp_path)


def test_without_a_budget_the_same_examples_are_drawn_each_time(monkeypatch):
    monkeypatch.delenv(fuzzing.LONG_SEARCH, raising=False)
    drawn = [[], []]

    def check(run):
        search(lambda number: drawn[run].append(number), 30, number=strategies.integers())

    check(0)
    check(1)
    assert drawn[0] == drawn[1] and len(set(drawn[0])) > 10


def test_with_a_budget_the_search_goes_on_until_it_is_spent(monkeypatch):
    monkeypatch.setenv(fuzzing.LONG_SEARCH, "0.5")
    drawn = []
    start = time.monotonic()
    search(lambda number: drawn.append(number), 1, number=strategies.integers())
    assert time.monotonic() - start >= 0.5 and len(drawn) > 1
