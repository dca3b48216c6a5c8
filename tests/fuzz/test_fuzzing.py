"""The fuzz tests' own tools: faults of every kind that they look for are found, and the fixed search is fixed."""

import time

import pytest
from hypothesis import strategies

from helpers import fuzzing
from helpers.fuzzing import outcome, search
from pretrain.runtime.errors import UserError


def refuse():
    raise UserError("a file is damaged: copy it again.")


def test_what_is_returned_and_what_is_refused_are_the_outcomes(tmp_path):
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


def test_with_a_budget_the_search_goes_on_until_it_is_spent_and_counts(monkeypatch, tmp_path):
    monkeypatch.setenv(fuzzing.LONG_SEARCH, "0.5")
    monkeypatch.setattr(fuzzing, "FOUND", tmp_path / "found")
    drawn = []

    def check(number):
        drawn.append(number)
        outcome(lambda: refuse() if number < 0 else number, tmp_path / "none")

    start = time.monotonic()
    search(check, 1, number=strategies.integers())
    assert time.monotonic() - start >= 0.5 and len(drawn) > 1
    refused = sum(number < 0 for number in drawn)
    told = f"{len(drawn)} inputs, {len(drawn) - refused} right, {refused} refused, 0 failed"
    assert told in (tmp_path / "found" / "counts.txt").read_text()


def test_of_what_fails_in_a_long_search_the_smallest_example_and_its_files_are_kept(monkeypatch, tmp_path):
    monkeypatch.setenv(fuzzing.LONG_SEARCH, "30")
    monkeypatch.setattr(fuzzing, "FOUND", tmp_path / "found")
    (tmp_path / "tried").mkdir()

    def check(number):
        (tmp_path / "tried" / "in.bin").write_text(str(number))
        outcome(lambda: 1 / (number < 7), tmp_path / "tried")

    with pytest.raises(ZeroDivisionError):
        search(check, 1, number=strategies.integers(0, 1000))
    (kept,) = (path for path in (tmp_path / "found").iterdir() if path.is_dir())
    assert (kept / "in.bin").read_text() == "7"
    told = (kept / "example.txt").read_text()
    assert told.startswith("{'number': 7}") and "ZeroDivisionError" in told
