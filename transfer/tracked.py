"""Results in the trackers of the runs that their trunks come from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pretrain.engine.monitor.tracking import FILE, Line, joined
from transfer.results import Result


def run_of(result: Result) -> Path | None:
    """The run folder that a result's trunk comes from, where it has trackers: around the file, or as the file says."""
    said = result.pretraining.get("run")
    around = Path(result.checkpoint).parents[1:2] if result.checkpoint else ()
    folders = [*around, *([Path(said)] if isinstance(said, str) else [])]
    return next((folder for folder in folders if (folder / FILE).is_file()), None)


def tell_results(results: Mapping[Path, Result]) -> None:
    """Tell the trackers of each run its results, as TASK/DATA SET/METRIC at the step of the trunk, and their pictures.

    Args: results, by the file of each.
    """
    by_run: dict[Path, list[Path]] = {}
    for file, result in results.items():
        if (folder := run_of(result)) is not None:
            by_run.setdefault(folder, []).append(file)
    for folder, files in by_run.items():
        with joined(folder) as tracking:
            for file in files:
                tracking.numbers(_step(results[file]), _numbers(results[file]))
                if pictures := _pictures(file, results[file]):
                    tracking.images(_step(results[file]), pictures)


def _step(result: Result) -> int:
    step = result.pretraining.get("step")
    return step if isinstance(step, int) else 0


def _numbers(result: Result) -> Line:
    return {f"{result.task}/{result.dataset}/{name}": value for name, value in result.metrics.items()}


def _pictures(file: Path, result: Result) -> dict[str, Path]:
    paths = [file.parent / name for name in result.artefacts.get("images") or []]
    return {f"{result.task}/{result.dataset}/{path.stem}": path for path in paths if path.is_file()}
