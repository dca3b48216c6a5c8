"""Publish a trunk: python tools/publish.py RUN --to DIR, or --to hf:USER/NAME to upload it.

DIR gets model.safetensors, config.json and a model card, as hubs of models hold them: timm loads it by
create_model("local-dir:DIR", pretrained=True). Nothing is uploaded unless --to is a name on the hub; HF_TOKEN, or
`hf auth login`, says who uploads.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":  # this folder's pretrain.py would shadow the package
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from pretrain.runtime.errors import UserError, run_tool
from pretrain.runtime.options.arguments import Once, a_path

if TYPE_CHECKING:
    from transfer.report.model_card import Facts


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    told = "run folder of tools/pretrain.py, or any checkpoint that tools/convert.py reads"
    root.add_argument("source", type=a_path, metavar="RUN|FILE", help=told)
    told = "a folder to write, or hf:USER/NAME to upload to"
    root.add_argument("--to", type=a_path, action=Once, required=True, metavar="DIR|hf:USER/NAME", help=told)
    told = "a folder with further results of the run; repeatable (default: those below RUN)"
    root.add_argument("--results", type=a_path, action="append", default=[], metavar="DIR", help=told)
    told = "of the weights, as the hub calls it, such as apache-2.0 (default: %(default)s)"
    root.add_argument("--licence", action=Once, default="unknown", metavar="NAME", help=told)
    told = "that it was trained on, as the hub calls it; repeatable (default: the name of the run's folder of images)"
    root.add_argument("--dataset", action="append", default=[], metavar="NAME", help=told)
    told = "of a training checkpoint: the branch that learns or the one that follows (default: what its project takes)"
    root.add_argument("--branch", choices=("online", "target"), action=Once, help=told)
    root.add_argument("--private", action="store_true", help="make a new repository private (default: off)")
    return root


def main(argv: list[str] | None = None) -> None:
    """Check the place and the token, write and compare, and upload where that is asked for."""
    args = parser().parse_args(argv)
    from pretrain.weights.hub.names import is_hub

    remote = is_hub(args.to)
    if args.private and not remote:
        raise UserError(f"--private is for a repository on the hub, and --to {args.to} is a folder: leave it out.")
    if args.source.is_dir() and args.branch:
        raise UserError("--branch is for a checkpoint, and a run publishes its export: give RUN/checkpoints/STEP.pth.")
    if args.results and not args.source.is_dir():
        raise UserError(f"--results is of a run, and {args.source} is no run folder: give that.")

    from transfer.publish import folder, upload
    from transfer.publish.header import Said

    said = Said(args.licence, tuple(args.dataset))
    said.check()
    name = upload.target(args.to) if remote else None
    if name:
        upload.check_token(name)
    else:
        folder.check_place(args.to)
    facts = _facts(args)
    if name is None:
        written = folder.write_folder(args.to, facts, said, f"{folder.LOCAL}.", args.to.resolve().name)
        print("\n".join(written.told))
        print(f"wrote {args.to}: {', '.join(folder.FILES)}; sha256 of the weights {written.sha256}")
        return
    with tempfile.TemporaryDirectory() as draft:
        home, called = f"hf-hub:{name.repo}", name.repo.rpartition("/")[2]
        written = folder.write_folder(Path(draft, called), facts, said, home, called)
        print("\n".join(written.told))
        done = upload.upload(Path(draft, called), name, args.private)
    print(f"uploaded {name.at(done.commit)}, sha256 of the weights {written.sha256}: {done.url}")


def _facts(args: argparse.Namespace) -> Facts:
    """Of the run or of the file that is published."""
    from pretrain.weights.hub.fetch import fetched
    from pretrain.weights.read_trunk import read_trunk
    from transfer.publish.folder import facts_of_file
    from transfer.report.model_card import facts_of_run

    if args.source.is_dir():
        return facts_of_run(args.source, args.results)
    path = fetched(args.source)
    return facts_of_file(path, read_trunk(path, args.branch))


if __name__ == "__main__":
    run_tool(main)
