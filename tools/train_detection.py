"""Fine-tune a detector or segmenter: python tools/train_detection.py --config configs/detection/bccd_cpu.yaml --out DIR
MODEL.WEIGHTS=RUN/export/trunk.pth DATASETS.ROOT=BCCD [A.B=v ...].

MODEL.WEIGHTS=random starts from a random trunk. DIR gets result.json, detections/*.png, checkpoints and logs. With
--trials N it gets trial-S/ for N seeds S from SEED on, and trials.json with means and deviations. Alone the tool uses
one process; under `torchrun --nproc-per-node N` or `tools/launch.py` all of theirs, and rescales the schedule to them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # this folder's pretrain.py would shadow the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pretrain.runtime.errors import UserError, run_tool
from pretrain.runtime.options import add_help
from pretrain.runtime.options.arguments import Once, a_config, a_path
from transfer.detection.config.options import DetectionKeys, described_kinds

OTHER_KEYS = (
    "Any key of detectron2 can be set as well (detectron2/config/defaults.py); the YAML of --config has its value."
)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(
        description=f"{__doc__}\n{described_kinds()}\n\n{OTHER_KEYS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    root.add_argument(
        "--config",
        type=a_config,
        action=Once,
        required=True,
        metavar="YAML",
        help="a file such as those below configs/detection/",
    )
    root.add_argument("--out", required=True, type=a_path, metavar="DIR", help="folder of this run")
    root.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in DIR, if there is one")
    trials = "seeds to train, at least 1; with --resume those without a result (default %(default)s)"
    root.add_argument("--trials", type=int, default=1, metavar="N", help=trials)
    drawn = "test images on which predictions are drawn, at least 0 (default %(default)s)"
    root.add_argument("--visualise", type=int, default=6, metavar="N", help=drawn)
    root.add_argument("overrides", nargs="*", metavar="A.B=v", help="configuration keys; default: as in the YAML")
    add_help(root, lambda: {"Keys that detectron2 does not have": DetectionKeys})
    return root


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, train and evaluate, and print the result."""
    args = parser().parse_intermixed_args(argv)
    if args.trials < 1 or args.visualise < 0:
        raise UserError(f"--trials {args.trials} must be 1 or more, --visualise {args.visualise} 0 or more.")

    from transfer.detection import require_detectron2

    require_detectron2()
    from pretrain.runtime import distributed
    from transfer.detection.config import load
    from transfer.detection.train import train_detector
    from transfer.detection.trials import means_and_deviations, train_trials

    try:
        cfg = load.load_config(args.config, args.overrides)
        with distributed.departure_told():
            if args.trials > 1:
                finished = train_trials(cfg, args.out, args.trials, args.resume, args.visualise)
            else:
                result = train_detector(cfg, args.out, args.resume, args.visualise)
                finished = None if result is None else [result]
    finally:
        distributed.stop()
    if finished is not None:
        first, seeds = finished[0], ", ".join(str(result.seed) for result in finished)
        print(f"{first.protocol}\n{first.dataset}, {first.init} {first.arch}, seed{'s' * (len(finished) > 1)} {seeds}")
        for name, number in means_and_deviations([result.metrics for result in finished]).items():
            deviation = "" if number["std"] is None else f" ± {number['std']:.2f} (n={len(finished)})"
            print(f"  {name} {number['mean']:.2f}{deviation}")
        print(f"result: {args.out / ('result.json' if args.trials == 1 else 'trials.json')}")


if __name__ == "__main__":
    run_tool(main)
