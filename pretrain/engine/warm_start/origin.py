"""The file that model.init names, read and checked whole before any long work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from pretrain import config
from pretrain.engine import checkpoint
from pretrain.engine.statistics import pixels_of_run
from pretrain.models.pixels import IMAGENET, Pixels
from pretrain.models.trunks import is_timm
from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError
from pretrain.runtime.files import read_json, sha256_of
from pretrain.runtime.lock import holder_of
from pretrain.runtime.printable import shortened
from pretrain.weights import formats, of_all_ranks
from pretrain.weights.hub import moved
from pretrain.weights.hub.fetch import fetched
from pretrain.weights.numbers import finite
from pretrain.weights.read_file import read_content
from pretrain.weights.read_trunk import read_trunk
from pretrain.weights.trunk import first_few

BELOW_RUN = ("checkpoints", "export")  # folders of a run that hold weights
RECORD = "init.json"  # in a run folder: what the run has started from
ALIKE = 0.005  # of pixels in 0..1: SwAV's deviation of .228 is ImageNet's .229
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Origin:
    """Weights to start from.

    layout, branch: as `pretrain.weights` calls them. arch: of the trunk.
    online, target: tensors by their names in a Branch, "trunk.conv1.weight"; target is empty where the file has one
    branch or one was asked for. form: the state of the method, empty but in a checkpoint of ours.
    pixels: mean and standard deviation of the images that the trunk has seen.
    """

    path: Path
    sha256: str
    layout: str
    branch: str
    arch: str
    online: Mapping[str, Tensor]
    target: Mapping[str, Tensor] = field(default_factory=dict)
    form: Mapping[str, Any] = field(default_factory=dict)
    pixels: Pixels = IMAGENET


def pinned(cfg: config.Config) -> config.Config:
    """`cfg`, with a name on a hub pinned to the commit that the run began with, or to that of this moment.

    Raises:
        UserError: as of `pretrain.weights.hub.moved.pinned`.
    """
    run_dir = Path(cfg.run_dir)
    path, goes_on = run_dir / RECORD, bool(checkpoint.list_checkpoints(run_dir))
    told = read_json(path, "the record of a run's start") if cfg.model.init and path.is_file() else {}
    file, sha256 = (str(told.get(key)) if isinstance(told, dict) else "" for key in ("file", "sha256"))
    name = moved.pinned(cfg.model.init, moved.Record(path, file, sha256, goes_on))
    return replace(cfg, model=replace(cfg.model, init=name))


def read(cfg: config.Config, tell: Tell) -> Origin | None:
    """The weights that `cfg` names; None without model.init, and where the run folder has checkpoints to go on from.

    Raises:
        UserError: no checkpoint that is known, of a run in progress, or weights that this run cannot start from.
    """
    if not cfg.model.init or checkpoint.list_checkpoints(Path(cfg.run_dir)):
        return None
    given = fetched(cfg.model.init)
    _check_place(given, Path(cfg.run_dir))
    path, content = _newest(given, tell) if given.is_dir() else (given, read_content(given))
    whole = content.get("format") == formats.CHECKPOINT and cfg.model.init_branch is None
    origin = _of_run(path, content) if whole else _of_project(path, cfg.model.init_branch, cfg.model.arch)
    _check_fits(origin, cfg)
    return origin


def check_options(cfg: config.Config) -> None:
    """Refuse ways of learning on from given weights where none are given.

    Raises:
        UserError: naming what is set.
    """
    model = cfg.model
    set_ones = {
        f"model.init_branch={model.init_branch}": model.init_branch is not None,
        f"model.init_trunk_lr={model.init_trunk_lr}": model.init_trunk_lr != 1,
        f"model.init_warmup_epochs={model.init_warmup_epochs}": model.init_warmup_epochs > 0,
        f"model.freeze_stages={model.freeze_stages}": model.freeze_stages > 0,
    }
    if not model.init and (alone := [name for name, is_set in set_ones.items() if is_set]):
        raise UserError(f"{' and '.join(alone)} is for weights that a run starts from: give model.init=FILE, too.")
    if model.init_warmup_epochs >= cfg.optim.epochs:
        raise UserError(
            f"model.init_warmup_epochs={model.init_warmup_epochs} must be below optim.epochs={cfg.optim.epochs}, or "
            "the trunk would never learn: lower it, or say model.freeze_stages=5."
        )


def agreed(origin: Origin | None, cfg: config.Config, tell: Tell) -> Origin | None:
    """What rank 0 has read, once the run folder is this run's own: None where an earlier start has left checkpoints.

    Raises:
        UserError: the ranks have read different files.
    """
    if not cfg.model.init:
        return None
    goes_on = distributed.on_rank_0(lambda: bool(checkpoint.list_checkpoints(Path(cfg.run_dir))))
    if goes_on:
        return None
    origin = origin or read(cfg, tell)  # a shared folder may have shown this rank what rank 0 did not see
    of_all_ranks.check_same(f"model.init={cfg.model.init}", origin.sha256 if origin else "")
    return origin


def _check_place(given: Path, run_dir: Path) -> None:
    """Refuse a path that is not there, the run's own folder, and weights of a run that still writes."""
    if not given.exists():
        raise UserError(f"model.init={given} does not exist: give a checkpoint, or the folder of a run.")
    folder = given if given.is_dir() else given.parent.parent if given.parent.name in BELOW_RUN else None
    if folder is None:
        return
    if folder.resolve() == run_dir.resolve():
        raise UserError(
            f"model.init={given} is of run_dir itself, which this run would write over: choose another run_dir, or "
            "leave model.init out."
        )
    if holder := holder_of(folder / ".lock"):
        raise UserError(
            f"model.init={given} is of a run in progress (process {holder.pid or '?'} on "
            f"{holder.host or 'another machine'}), which replaces its files: wait for its end, or copy the file."
        )


def _newest(run_dir: Path, tell: Tell) -> tuple[Path, dict[str, Any]]:
    """The newest checkpoint of a run that can be read."""
    if found := checkpoint.newest(run_dir, tell):
        return found
    export = run_dir / "export" / "trunk.pth"
    hint = f"model.init={export} starts from its trunk" if export.is_file() else "give a checkpoint, or a run's folder"
    raise UserError(f"model.init={run_dir} is a folder without checkpoints/step_XXXXXXXX.pth: {hint}.")


def _of_project(path: Path, branch: str | None, arch: str) -> Origin:
    """The trunk of any checkpoint that conversion reads, timm's own included where `arch` is one of timm's."""
    try:
        trunk = read_trunk(path, branch, arch if is_timm(arch) else None)
    except UserError as error:
        if "--" not in str(error):
            raise
        raise UserError(
            f"{str(error).removesuffix('.')}; model.init takes no such option: `python tools/convert.py {path} "
            "trunk.pth --to torchvision` does, and what it writes can be started from."
        ) from error
    online = {f"trunk.{name}": tensor for name, tensor in trunk.state.items()}
    return Origin(path, sha256_of(path), trunk.layout, trunk.branch, trunk.arch, online, pixels=Pixels(*trunk.pixels))


def _of_run(path: Path, content: Mapping[str, Any]) -> Origin:
    """All that a checkpoint of ours holds of the network and the method."""
    model, form = (content.get(name) for name in ("model", "form"))
    try:
        arch, data = str(content["config"]["model"]["arch"]), content["config"].get("data", {})
        pixels = pixels_of_run(config.Data(**{name: data[name] for name in ("mean", "std") if name in data}))
        named = {str(name): tensor for name, tensor in dict(model or {}).items() if isinstance(tensor, Tensor)}
        state = {str(name): value for name, value in dict(form or {}).items()}
    except (LookupError, TypeError, ValueError) as error:
        raise UserError(f"{path} is a checkpoint of ours without its parts: give another one of that run.") from error
    numbers = {**named, **{name: value for name, value in state.items() if isinstance(value, Tensor)}}
    if broken := [name for name, tensor in numbers.items() if not finite(tensor)]:
        raise UserError(
            f"{path} has values that are not finite in {first_few(broken)}: its run had broken down; give an earlier "
            "checkpoint."
        )
    online, target = (below(named, branch) for branch in ("online", "target"))
    return Origin(path, sha256_of(path), "unigrad-checkpoint", "", arch, online, target, state, pixels)


def below(state: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What a state dict holds of its part `name`, under the part's own names."""
    return {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}


def _check_fits(origin: Origin, cfg: config.Config) -> None:
    """Refuse another architecture than the run's, and pixels of another scale."""
    if origin.arch != cfg.model.arch:
        raise UserError(
            f"{origin.path} is a {shortened(origin.arch)}, but model.arch={cfg.model.arch}: set model.arch to it, or "
            "give weights of that one."
        )
    own = None if cfg.data.mean == "auto" else pixels_of_run(cfg.data)
    if own is None or not _alike(own, origin.pixels):
        mean, std = (f"[{','.join(f'{value:.4g}' for value in part)}]" for part in origin.pixels)
        raise UserError(
            f"{origin.path} has seen images scaled by other statistics than data.mean={cfg.data.mean} and "
            f"data.std={cfg.data.std} with data.channels={cfg.data.channels}, so that its first layer would see other "
            f"numbers: add data.channels={len(origin.pixels.mean)} data.mean={mean} data.std={std}."
        )


def _alike(one: Pixels, other: Pixels) -> bool:
    """Whether both are of as many channels, and no number differs by more than ALIKE."""
    pairs = list(zip((*one.mean, *one.std), (*other.mean, *other.std), strict=False))
    return len(one.mean) == len(other.mean) and max(abs(a - b) for a, b in pairs) <= ALIKE
