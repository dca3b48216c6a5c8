"""Fine-tune a detector: python tools/train_detection.py --config configs/detection/c4/bccd_r18_c4_cpu.yaml --out DIR
MODEL.WEIGHTS=RUN/export/trunk.pth DATASETS.ROOT=BCCD [A.B=v ...].

MODEL.WEIGHTS=random starts from a random trunk. DIR gets result.json, detections/*.png, checkpoints and logs. Alone it
uses one process; under `torchrun --nproc-per-node N` or `tools/launch.py` it uses all of theirs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # this folder's pretrain.py would shadow the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pretrain.errors import run_tool


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, train and evaluate, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="detectron2 YAML, such as those below configs/detection/")
    parser.add_argument("--out", required=True, type=Path, help="folder of this run")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in OUT, if any")
    parser.add_argument("--draw", type=int, default=6, metavar="N", help="draw N test images (default 6)")
    parser.add_argument("overrides", nargs="*", metavar="A.B=v", help="any key of detectron2 or of settings.py")
    args = parser.parse_args(argv)

    from transfer.detection import require_detectron2

    require_detectron2()
    from pretrain import comm
    from transfer.detection import settings
    from transfer.detection.train import train

    try:
        result = train(settings.load(args.config, args.overrides), args.out, args.resume, args.draw)
    finally:
        comm.stop()
    if result is not None:
        print(f"{result.protocol}\n{result.dataset}, {result.init} {result.arch}, seed {result.seed}")
        print("  ".join(f"{name} {value:.2f}" for name, value in result.metrics.items()))
        print(f"result: {args.out / 'result.json'}")


if __name__ == "__main__":
    run_tool(main)
