"""Trials of tools/train_detection.py as they are kept: what detectors reach from several trunks, by seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import natural_key, read_json, write_json
from tools.trials.comparison.table import UNTRAINED

FILE = "trials.json"  # of a row, in its own folder
COMMON = ("task", "protocol", "dataset", "arch")  # of all rows, or their numbers belong into no table


def holds(out: Path) -> bool:
    """Whether OUT has a folder for each row with a trials.json."""
    return any(out.glob(f"*/{FILE}"))


def keep(out: Path, folder: Path, name: str) -> Path:
    """Write FOLDER/NAME.json, a table with a row for each OUT/ROW/trials.json.

    Raises:
        UserError: one is damaged, or two are of other recipes.
    """
    paths = sorted(out.glob(f"*/{FILE}"), key=_baseline_first)
    told = {path.parent.name: _trials(path) for path in paths}
    recipe = told[paths[0].parent.name]["trials"]
    for path in paths:
        own = told[path.parent.name]["trials"]
        for key in (key for key in COMMON if own[key] != recipe[key]):
            raise UserError(
                f"{path} has the {key} '{own[key]}', {paths[0]} '{recipe[key]}': give rows of one recipe, which differ "
                "in their trunks alone."
            )
    setting = f"{recipe['dataset']}: {recipe['protocol']}. AP is in percent. The seeds are the detector's."
    return write_json(folder / f"{name}.json", {"setting": setting, "rows": [_row(*one) for one in told.items()]})


def _baseline_first(path: Path) -> tuple[bool, object]:
    """Sorts the untrained row before the others."""
    return path.parent.name != UNTRAINED, natural_key(path.parent.name)


def _trials(path: Path) -> dict[str, Any]:
    """A trials.json with all that a row is made of."""
    told = read_json(path, "trials of tools/train_detection.py")
    try:
        for key in COMMON:
            str(told["trials"][key])
        counts = {len(of["values"]) for of in told["measured"].values()}
        if counts != {len(told["seeds"])}:
            raise ValueError("a metric has not as many values as there are seeds")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} is no {FILE} of tools/train_detection.py ({error!r}): run it with --trials N again."
        ) from error
    found: dict[str, Any] = told
    return found


def _row(name: str, told: dict[str, Any]) -> dict[str, Any]:
    """As a table of tools/compare.py has it; the paper tells nothing of it."""
    readings = {metric: {"seeds": told["seeds"], "values": of["values"]} for metric, of in told["measured"].items()}
    return {"row": name, "readings": readings, "curves": {}, "errors": {}, "published": None}
