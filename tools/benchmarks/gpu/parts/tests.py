"""The tests that need a GPU."""

from __future__ import annotations

from collections.abc import Iterator

from pretrain.runtime.repository import REPOSITORY
from tools.benchmarks.gpu.part import Asked, Part, Reading


def measure(asked: Asked) -> Iterator[Reading]:
    """How many passed, failed or were left out, in pytest's words, and the names of those that failed."""
    from tools.benchmarks.gpu.commands import run_command

    if not (REPOSITORY / "tests").is_dir():
        yield Reading("pytest -m gpu", "not run", note="a wheel holds no tests: run this in a clone")
        return
    # pytest reads every file that it is given, and the others ask for more packages
    folder = REPOSITORY / "tests" / ("pretrain/models" if asked.toy else "")
    files = [str(path) for path in sorted(folder.rglob("test_*.py")) if "mark.gpu" in path.read_text(encoding="utf-8")]
    told = run_command("-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "-rfE", *files, may_fail=True)
    lines = told.strip().splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    yield Reading("pytest -m gpu", lines[-1].strip("= ") if lines else "it printed nothing", note="; ".join(failed))


PART = Part("tests", 3, 1.5, measure)
