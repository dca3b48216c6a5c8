"""The same fine-tuning from several seeds, and what they measured together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from detectron2.config import CfgNode

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import write_json
from transfer import results
from transfer.detection.train import pin_weights, train_detector

SUMMARY = "trials.json"
SHARED = ("task", "protocol", "dataset", "arch", "init", "checkpoint_sha256")  # fields that trials have in common


def train_trials(cfg: CfgNode, out: Path, trials: int, resume: bool, drawn: int) -> list[results.Result] | None:
    """Train seeds SEED, SEED + 1, ... one after the other, trial S in OUT/trial-S, and write OUT/trials.json.

    With `resume` a trial that has its result is not trained again, and one that was interrupted goes on from its
    checkpoint. So this also summarises what several processes, each with `--out OUT/trial-S SEED=S`, have trained.

    Args:
        cfg: of the first trial.
        out: the folder of all trials.
        trials: their number.
        resume: use what is in `out` already.
        drawn: test images drawn of each trial.

    Returns:
        the results by seed; None on ranks other than 0.

    Raises:
        UserError: as `train_detector`, or a result in OUT is another recipe's.
    """
    pin_weights(cfg, out / f"trial-{cfg.SEED}", resume)  # once, so that all trials have the same
    finished = []
    for seed in range(cfg.SEED, cfg.SEED + trials):
        folder = out / f"trial-{seed}"
        trial_cfg = cfg.clone()
        trial_cfg.SEED = seed
        done = resume and (folder / "result.json").is_file()
        result = results.load(folder / "result.json") if done else train_detector(trial_cfg, folder, resume, drawn)
        if result is not None:
            finished.append(result)
    if len(finished) < trials:
        return None
    write_json(out / SUMMARY, summarise_trials(finished))
    return finished


def summarise_trials(trials: Sequence[results.Result]) -> dict[str, Any]:
    """What the trials have in common, and of every metric its values, their mean and sample deviation.

    Raises:
        UserError: the results are not repetitions of one recipe on one trunk, or two have the same seed.
    """
    for name in SHARED:
        values = sorted({str(getattr(result, name)) for result in trials})
        if len(values) > 1:
            raise UserError(f"these trials differ in their {name} ({'; '.join(values)}): give another folder.")
    seeds = [result.seed for result in trials]
    if len(set(seeds)) < len(seeds):
        raise UserError(f"two of these trials have the same seed ({seeds}): they would count as two.")
    shared = {name: getattr(trials[0], name) for name in SHARED}
    return {"trials": shared, "seeds": seeds, "measured": means_and_deviations([result.metrics for result in trials])}


def means_and_deviations(metrics: Sequence[dict[str, float]]) -> dict[str, dict[str, Any]]:
    """Of every metric of all trials its values, mean and sample standard deviation (None of a single trial)."""
    summary = {}
    for name in metrics[0]:
        values = [of_trial[name] for of_trial in metrics]
        deviation = stdev(values) if len(values) > 1 else None
        summary[name] = {"mean": fmean(values), "std": deviation, "values": values}
    return summary
