"""The tests that need a GPU."""

from __future__ import annotations

from collections.abc import Iterator

from tools.benchmarks.gpu.part import Asked, Part, Reading


def measure(asked: Asked) -> Iterator[Reading]:
    """How many passed, failed or were left out, in pytest's words, and the names of those that failed."""
    from tools.benchmarks.gpu.commands import run_command

    where = "tests/pretrain/models" if asked.toy else "tests"
    told = run_command("-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "-rfE", where, may_fail=True)
    lines = told.strip().splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    yield Reading("pytest -m gpu", lines[-1].strip("= ") if lines else "it printed nothing", note="; ".join(failed))


PART = Part("tests", 3, 1.5, measure)
