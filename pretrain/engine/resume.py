"""Going on from a checkpoint: what may have changed since it was written, and its state loaded under today's options.

Every option of pretraining says whether it may change (`resume=` in pretrain/config.py and pretrain/methods/):
FREE, it takes effect; TOLD, it takes effect and is said, since one run then has two recipes; FIXED, it is refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pretrain import config, methods
from pretrain.data.sources import resolved
from pretrain.engine import checkpoint
from pretrain.optim import build as optimisers
from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError
from pretrain.runtime.options import FIXED, TOLD, Option, options

PATIENCE = 60.0  # seconds until a shared folder shows every rank the same
ANEW = ("linear",)  # parts that may begin on the way, since nothing else depends on them
FOLDERS = ("run_dir", "data.root", "data.val", "model.init")  # spelled in more than one way; some may be moved
Tell = Callable[[str], None]


class Change(NamedTuple):
    """An option whose value is another one than in the checkpoint."""

    option: Option
    old: Any

    @property
    def new(self) -> Any:
        """The value that is asked for."""
        return self.option.default

    @property
    def kind(self) -> str:
        """FREE, TOLD or FIXED; what nobody classed may not change."""
        return self.option.rule.resume if self.option.rule and self.option.rule.resume else FIXED

    def __str__(self) -> str:
        return f"{self.option.name}={_spelled(self.new)} (was {_spelled(self.old)})"


class Resumed(NamedTuple):
    """A checkpoint that a run goes on from. state: all that it holds; changes: of the options since."""

    path: Path
    state: dict[str, Any]
    changes: list[Change]


def changes(old: Mapping[str, Any], cfg: config.Config) -> list[Change]:
    """The options whose values in `cfg` differ from those of the tree `old`.

    An option that `old` lacks had its default, as has an option of a row or of an optimiser that is at null.
    """
    defaults = {one.name: one.default for one in options(config.Config)}
    of_optimiser = optimisers.find(cfg.optim.optimiser).options()
    own = {one.name: one.default for one in options(methods.find(cfg.method.name).defaults(), "method.")}
    own |= {one.name: one.default for one in options(of_optimiser, "optim.")}
    found = []
    for one in options(cfg):
        before = _value_at(old, one.name, defaults.get(one.name))
        now = one.default
        if one.name in own:
            before, now = (own[one.name] if value is None else value for value in (before, now))
        if before != now and not (one.name in FOLDERS and _same_folder(one.name, before, now)):
            found.append(Change(one, before))
    return found


def _value_at(tree: Mapping[str, Any], name: str, default: Any) -> Any:
    value: Any = tree
    for key in name.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return default
        value = value[key]
    return value


def _same_folder(name: str, before: Any, now: Any) -> bool:
    """Whether two texts name one folder; a run goes on wherever its folder lies now."""
    return name == "run_dir" or bool(before and now and resolved(before) == resolved(now))


def _spelled(value: Any) -> str:
    """As it is typed."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def resume(
    run_dir: Path, parts: Mapping[str, Any], notes: Sequence[str], cfg: config.Config, tell: Tell
) -> Resumed | None:
    """Load the newest checkpoint that can be read into `parts`.

    Rank 0 chooses the file and all ranks load it: a shared folder may show them different files.

    Args:
        run_dir: the run folder.
        parts: by name, what the state dicts are loaded into.
        notes: names of the other values that the checkpoint must hold.
        cfg: the run's resolved configuration, compared with the checkpoint's.
        tell: prints one line.

    Returns: None where there is no checkpoint.

    Raises:
        UserError: none of the checkpoints can be read, or an option that may not change has changed.
    """
    chosen: list[tuple[Path, dict[str, Any]]] = []  # what rank 0 has read already

    def choose() -> str | None:
        """Name of the chosen file. Its content is too large to send to the other ranks."""
        if (known := checkpoint.newest(run_dir, tell)) is None:
            return None
        chosen.append(known)
        return str(known[0])

    name = distributed.on_rank_0(choose)
    if name is None:
        return None
    path, state = chosen[0] if chosen else (Path(name), checkpoint.read(_once_shown(Path(name))))
    changed = changes(state["config"], cfg)
    refuse(path, changed)
    if lacking := [name for name in (*parts, *notes) if name not in state and name not in ANEW]:
        raise UserError(f"{path} lacks {', '.join(lacking)}: another version wrote it; use that, or another run_dir.")
    for name, part in parts.items():
        _load(path, name, part, state.get(name), tell)
    tell(f"resumed from {path}")
    _tell_changes(path, changed, tell)
    return Resumed(path, state, changed)


def _once_shown(path: Path) -> Path:
    """`path`, waited for where the shared folder does not show it on this machine yet."""
    deadline = time.monotonic() + PATIENCE
    while not path.is_file() and time.monotonic() < deadline:
        time.sleep(0.5)
    return path


def refuse(path: Path, changed: Sequence[Change]) -> None:
    """Refuse what may not change.

    Raises:
        UserError: naming what the checkpoint has, what is asked for, and the two ways out.
    """
    fixed = [one for one in changed if one.kind == FIXED]
    if fixed:
        names = [one.option.name for one in fixed]
        stored = " ".join(f"{one.option.name}={_spelled(one.old)}" for one in fixed)
        asked = " ".join(f"{one.option.name}={_spelled(one.new)}" for one in fixed)
        raise UserError(
            f"{path} was trained with {stored}, but this run asks for {asked}, and {' and '.join(names)} cannot change "
            f"on the way: choose another run_dir, or go on with {stored}."
        )


def _tell_changes(path: Path, changed: Sequence[Change], tell: Tell) -> None:
    free = [str(one) for one in changed if one.kind != TOLD]
    told = [str(one) for one in changed if one.kind == TOLD]
    if free:
        tell(f"changed since {path.name}: {', '.join(free)}")
    if told:
        tell(f"note: two recipes in one run, the second from {path.name} on: {', '.join(told)}")


def _load(path: Path, name: str, part: Any, state: Any, tell: Tell) -> None:
    """Load the state of one part; an optimiser keeps its own options, and a scaler may begin anew."""
    if isinstance(part, torch.amp.GradScaler) and part.is_enabled() and not state:
        return tell("the scale of fp16's loss begins anew: the checkpoint is of another precision")
    if name in ANEW and state is None:
        return tell(f"the {name} probe begins anew: {path.name} has none")
    try:
        part.load_state_dict(
            optimisers.under_own_options(part, state) if isinstance(part, torch.optim.Optimizer) else state
        )
    except (RuntimeError, KeyError, ValueError, TypeError, IndexError) as error:
        if name in ANEW:
            return tell(f"the {name} probe begins anew: that of {path.name} does not fit ({error})")
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"the {name} in {path} does not fit this run ({reason}): choose another run_dir, or the code and the "
            "options that wrote it."
        ) from error
