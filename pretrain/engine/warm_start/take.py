"""What a run takes of the weights that it starts from: every part that fits, and the rest starts anew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from pretrain.engine.warm_start.origin import Origin, below
from pretrain.methods.memory import FeatureCorrelation, NegativeQueue
from pretrain.models.siamese import Siamese
from pretrain.runtime.errors import UserError
from pretrain.weights.hub.names import recorded

KINDS: Sequence[tuple[type, str]] = ((FeatureCorrelation, "F"), (NegativeQueue, "queue"))  # what users call them
SHORT = 12  # digits of a SHA-256 that are shown


@dataclass(frozen=True)
class Start:
    """What a run has started from, as checkpoints and exports keep it; all fields are plain values."""

    file: str
    sha256: str
    layout: str
    branch: str
    took: list[str]
    anew: list[str]

    def line(self) -> str:
        """In a sentence to print."""
        where = ", ".join(filter(None, (self.layout, self.branch, f"sha256 {self.sha256[:SHORT]}")))
        copied = "" if "target" in self.took else ", and the target starts as a copy"
        anew = f"; new at random or empty: {', '.join(self.anew)}" if self.anew else ""
        return f"starting from {self.file} ({where}): took {', '.join(self.took)}{copied}{anew}; step 0, own schedule"


def take(origin: Origin, model: Siamese, form: nn.Module) -> Start:
    """Fill `model` and `form`, at their random initialisation, with what fits of `origin`; in place.

    The trunk must fit. The projector is taken where its layers have the same shapes, and only then what lives among its
    channels: predictor, F or queue. The target is the file's own where there is one, else a copy of the online branch.

    Raises:
        UserError: the trunk is not the whole one of this run.
    """
    online = model.online
    held = {name: below(origin.online, name) for name in ("trunk", "projector", "normalisation")}
    if not fits(online.trunk, held["trunk"]):
        raise UserError(f"{origin.path} does not hold the whole trunk of a {origin.arch}: give another checkpoint.")
    projector = fits(online.projector, held["projector"])
    rows = projector and fits(online.normalisation, held["normalisation"])
    for name, wanted in (("trunk", True), ("projector", projector), ("normalisation", rows)):
        if wanted:
            getattr(online, name).load_state_dict(held[name])
    took = ["trunk", *["projector"] * projector]
    model.target.load_state_dict(online.state_dict())
    if origin.target:
        took += _take_target(origin, model, rows)
    found = _take_form(origin.form if rows else {}, form)
    took += [name for name, taken in found.items() if taken]
    anew = [*["projector"] * (not projector), *(name for name, taken in found.items() if not taken)]
    return Start(recorded(origin.path), origin.sha256, origin.layout, origin.branch, took, anew)


def fits(part: nn.Module, state: Mapping[str, Any]) -> bool:
    """Whether a state dict has the names and shapes of `part`; buffers that are still empty take any shape."""
    own = part.state_dict()
    return own.keys() == state.keys() and all(_alike(value, state[name]) for name, value in own.items())


def _alike(own: Any, held: Any) -> bool:
    if not isinstance(own, Tensor):
        return type(own) is type(held)
    return isinstance(held, Tensor) and (own.shape == held.shape or (own.numel() == 0 and own.ndim == held.ndim))


def _take_target(origin: Origin, model: Siamese, rows: bool) -> list[str]:
    """Fill the target with the file's own, the projector's part only where the online one was taken."""
    names = ("trunk", "projector", "normalisation") if rows else ("trunk",)
    held = {name: below(origin.target, name) for name in names}
    parts = {name: getattr(model.target, name) for name in names}
    if not all(fits(parts[name], held[name]) for name in names):
        return []
    for name, part in parts.items():
        part.load_state_dict(held[name])
    return ["target"]


def _take_form(state: Mapping[str, Any], form: nn.Module) -> dict[str, bool]:
    """Fill what the method remembers or learns, and say by its name what was filled."""
    parts = {name: child for name, child in form.named_children() if child.state_dict()}
    taken = {name: _remembers(child, below(state, name)) for name, child in parts.items()}
    if all(taken.values()) and fits(form, state):
        form.load_state_dict(state)  # with what the form itself keeps, as DirectPred its predictor
    else:
        for name, child in parts.items():
            if taken[name]:
                child.load_state_dict(below(state, name))
    return {_called(name, child): taken[name] for name, child in parts.items()}


def _remembers(child: nn.Module, state: Mapping[str, Any]) -> bool:
    """Whether a state fits and holds something: a memory that has seen no sample is as good as a new one."""
    if not state or not fits(child, state):
        return False
    if isinstance(child, NegativeQueue):
        return len(state["rows"]) == child.size
    return not any(isinstance(value, Tensor) and value.numel() == 0 for value in state.values())


def _called(name: str, child: nn.Module) -> str:
    return next((called for kind, called in KINDS if isinstance(child, kind)), name)
