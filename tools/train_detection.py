"""Fine-tune a detector or segmenter: python tools/train_detection.py --config configs/detection/bccd_cpu.yaml --out DIR
MODEL.WEIGHTS=RUN/export/trunk.pth DATASETS.ROOT=BCCD [A.B=v ...].

MODEL.WEIGHTS=random starts from a random trunk. DIR gets result.json, detections/*.png, checkpoints and logs; with
--trials N it gets trial-S/ for N seeds S from SEED on, and trials.json with means and deviations. Own data: a VOC
folder (DATASETS.ROOT, DATASETS.CLASSES) or any COCO JSON, DATASETS.TRAIN="('train.json:images',)". Alone it uses one
process; under `torchrun --nproc-per-node N` or `tools/launch.py` all of theirs, and rescales the schedule to them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # this folder's pretrain.py would shadow the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pretrain.runtime.errors import UserError, run_tool


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root.add_argument("--config", required=True, help="detectron2 YAML, such as those below configs/detection/")
    root.add_argument("--out", required=True, type=Path, help="folder of this run")
    root.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in OUT, if any")
    root.add_argument(
        "--trials", type=int, default=1, metavar="N", help="train N seeds; with --resume only those without a result"
    )
    root.add_argument(
        "--visualise", type=int, default=6, metavar="N", help="draw predictions beside N test images (default 6)"
    )
    root.add_argument("overrides", nargs="*", metavar="A.B=v", help="any key of detectron2 or of settings.py")
    return root


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, train and evaluate, and print the result."""
    args = parser().parse_args(argv)
    if args.trials < 1 or args.visualise < 0:
        raise UserError(f"--trials {args.trials} must be 1 or more, --visualise {args.visualise} 0 or more.")

    from transfer.detection import require_detectron2

    require_detectron2()
    from pretrain.runtime import distributed
    from transfer.detection.config import load
    from transfer.detection.train import train
    from transfer.detection.trials import spreads, train_trials

    try:
        cfg = load.load_config(args.config, args.overrides)
        if args.trials > 1:
            found = train_trials(cfg, args.out, args.trials, args.resume, args.visualise)
        else:
            result = train(cfg, args.out, args.resume, args.visualise)
            found = None if result is None else [result]
    finally:
        distributed.stop()
    if found is None:
        return
    first, seeds = found[0], ", ".join(str(result.seed) for result in found)
    print(f"{first.protocol}\n{first.dataset}, {first.init} {first.arch}, seed{'s' * (len(found) > 1)} {seeds}")
    for name, spread in spreads([result.metrics for result in found]).items():
        deviation = "" if spread["std"] is None else f" ± {spread['std']:.2f} (n={len(found)})"
        print(f"  {name} {spread['mean']:.2f}{deviation}")
    print(f"result: {args.out / ('result.json' if args.trials == 1 else 'trials.json')}")


if __name__ == "__main__":
    run_tool(main)
