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
from transfer.detection.train import train

SUMMARY = "trials.json"


def train_trials(cfg: CfgNode, out: Path, trials: int, resume: bool, drawn: int) -> list[results.Result] | None:
    """Train seeds SEED, SEED + 1, ... one after the other, trial S in OUT/trial-S, and write OUT/trials.json.

    With `resume` a trial that has its result is not trained again, so this also puts together what several processes,
    each with `--out OUT/trial-S SEED=S`, have trained; and goes on from the checkpoint of one that was interrupted.

    Returns:
        the results by seed; None on ranks other than 0.

    Raises:
        UserError: as `train`, or a result found in OUT is another recipe's.
    """
    found = []
    for seed in range(cfg.SEED, cfg.SEED + trials):
        folder = out / f"trial-{seed}"
        of_trial = cfg.clone()
        of_trial.SEED = seed
        done = resume and (folder / "result.json").is_file()
        found.append(results.load(folder / "result.json") if done else train(of_trial, folder, resume, drawn))
    if None in found:
        return None
    write_json(out / SUMMARY, summary(found))
    return found


def summary(found: Sequence[results.Result]) -> dict[str, Any]:
    """What the trials have in common, and of every metric its values, their mean and sample deviation.

    Raises:
        UserError: the results are not repetitions of one recipe on one trunk, or two have the same seed.
    """
    shared = ("task", "protocol", "dataset", "arch", "init", "checkpoint_sha256")
    for name in shared:
        values = sorted({str(getattr(result, name)) for result in found})
        if len(values) > 1:
            raise UserError(f"these trials differ in their {name} ({'; '.join(values)}): give another folder.")
    seeds = [result.seed for result in found]
    if len(set(seeds)) < len(seeds):
        raise UserError(f"two of these trials have the same seed ({seeds}): they would count as two.")
    about = {name: getattr(found[0], name) for name in shared}
    return {"trials": about, "seeds": seeds, "measured": spreads([result.metrics for result in found])}


def spreads(metrics: Sequence[dict[str, float]]) -> dict[str, dict[str, Any]]:
    """Of every metric of all trials its values, mean and sample standard deviation (None of a single trial)."""
    spread = {}
    for name in metrics[0]:
        values = [of_trial[name] for of_trial in metrics]
        spread[name] = {"mean": fmean(values), "std": stdev(values) if len(values) > 1 else None, "values": values}
    return spread
