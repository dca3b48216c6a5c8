"""What tools/compare.py trains: the rows of a folder of configurations, each under one setting and for every seed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from pretrain.runtime.errors import UserError
from tools.trials.rows import PLACES, CommonSetting, check_free
from tools.trials.trial import Trial, check_same, make_trial, recipe

OURS = {**PLACES, "run.seed": "--seeds"}


def make_trials(
    rows: Sequence[Path], setting: CommonSetting, given: Sequence[str], data: Path, out: Path, seeds: Sequence[int]
) -> list[Trial]:
    """Every row with every seed, seed by seed.

    Args:
        rows: the configurations of the rows.
        setting: of --with.
        given: overrides of the command line.
        data: holds train/ and val/.
        out: gets a run folder for each trial.
        seeds: of every row.

    Raises:
        UserError: an option that is wrong or that two rows differ in no longer, or a run folder of another setting.
    """
    check_free([override.partition("=")[0] for override in given], "overrides", OURS)
    data = data.resolve()
    made = [
        make_trial(path, setting, given, data, out / f"{path.stem}-{seed}", {"run.seed": seed})
        for seed in seeds
        for path in rows
    ]
    alike: dict[str, str] = {}
    for trial in made[: len(rows)]:
        same = alike.setdefault(json.dumps(recipe(trial.cfg)), trial.row)
        if same != trial.row:
            raise UserError(f"{same} and {trial.row} differ in nothing with these options: leave out what rows set.")
    for trial in made:
        check_same(trial, "comparison")
    return made


def with_peers(trials: Sequence[Trial]) -> list[Trial]:
    """Each of `trials`, and after it the same as another library trains it.

    Raises:
        UserError: that library is not installed, or cannot train a row as these options ask for.
    """
    from tools.trials.peers.peer import ENDING, LIBRARY, find  # here, since only peers need that library

    found = []
    for trial in trials:
        try:
            find(trial.cfg)
        except UserError as error:
            raise UserError(f"row {trial.row}: {error}") from error
        name = f"{trial.row}{ENDING}-{trial.seed}"
        place = str(trial.folder.with_name(name))
        overrides = (*trial.overrides, f"method.library={LIBRARY}", f"run_dir={place}")
        method = dataclasses.replace(trial.cfg.method, library=LIBRARY)
        cfg = dataclasses.replace(trial.cfg, run_dir=place, method=method)
        found += [trial, Trial(f"{trial.row}{ENDING}", name, trial.path, overrides, cfg)]
        check_same(found[-1], "comparison")
    return found
