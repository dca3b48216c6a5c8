"""Pretrain a trunk: python tools/pretrain.py --config configs/pretrain/unigrad_r50_100ep.yaml data.root=D run_dir=R.

Alone it uses one process; under `torchrun --nproc-per-node N` or `tools/launch.py` it uses all of theirs. Starting
again with the same run_dir goes on from its newest checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # this folder's pretrain.py would shadow the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pretrain import config
from pretrain.data.site.standing_in import standing_in
from pretrain.runtime.errors import run_tool
from pretrain.runtime.options import add_help
from pretrain.runtime.options.arguments import Once, a_config


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    add_help(root, config.pretraining_options, (("method", "optim"), config.further_options))
    told = "YAML with what differs from the defaults that are listed below"
    root.add_argument("--config", type=a_config, action=Once, help=told)
    root.add_argument("--show", action="store_true", help="print the resolved configuration and stop")
    root.add_argument("overrides", nargs="*", metavar="section.key=value", help="any option listed below")
    return root


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, train, and say where the trunk is."""
    args = parser().parse_intermixed_args(argv)

    cfg = config.load(config.Config, args.config, args.overrides)
    cfg.data.root = cfg.data.root or standing_in()
    if args.show:
        print(config.dump(cfg), end="")
        return

    from pretrain.runtime import distributed
    from transfer.classifiers import online_knn

    if cfg.method.library:
        from tools.trials.peers.loop import train
    else:
        from pretrain.train import train

    measured = online_knn.build_probe(cfg) if cfg.data.root else None  # train tells of a root that is not set
    if measured and distributed.asked_rank() == 0:
        print(measured.val.about, flush=True)
    trunk = train(cfg, measured)
    if distributed.asked_rank() == 0:  # once, and not in the middle of another rank's line
        print(f"trunk: {trunk}")


if __name__ == "__main__":
    run_tool(main)
