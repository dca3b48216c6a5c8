"""What a peer is: the network, loss and target of another library for one row of ours, and how it is found."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from pretrain import config, methods
from pretrain.engine.learner import untrained
from pretrain.engine.statistics import pixels_of_run
from pretrain.methods import GradientForm, LossForm
from pretrain.models.pixels import attach
from pretrain.models.siamese import Siamese
from pretrain.models.trunks import plain_trunk
from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError
from pretrain.runtime.registry import collect
from tools.trials.rows import flat

LIBRARY = "lightly"
ENDING = f"_{LIBRARY}"  # what the name of a peer's row ends with
PLAIN = {  # what a plain loop does, by option; everything else is refused
    "views.global_count": 2,
    "views.local_count": 0,
    "mixing.cutmix_alpha": 0.0,
    "model.init": "",
    "optim.optimiser": "sgd",
    "optim.exclude": None,
    "optim.bias_base_lr": None,
    "optim.predictor_lr": "schedule",
    "optim.accumulate": 1,
    "run.precision": "fp32",
}


class Passed(NamedTuple):
    """A forward pass. loss: a scalar with its graph; online, targets: rows (2, n, C), detached, of both views."""

    loss: torch.Tensor
    online: torch.Tensor
    targets: torch.Tensor


@dataclass(frozen=True)
class Peer:
    """A peer of one row.

    method: name of the row. targets: its branches there, of the positive and of the negative gradient. gradient: that
    of the peer's loss over that of the row, at the same weights and views. build: makes the modules of a trunk and of
    ours, whose weights they take over. Called with normalised views (2, n, 3, S, S) and the momentum with which a
    target first follows, they give a `Passed`. Their `trunk` is what is evaluated.
    """

    method: str
    targets: tuple[str, str]
    gradient: float
    build: Callable[[nn.Module, Siamese, GradientForm | LossForm], nn.Module]


def find(cfg: config.Config) -> Peer:
    """The peer of the row that `cfg` names, seen to do all that `cfg` asks for.

    Raises:
        UserError: the library is not installed, the row has no peer, or an option asks for more than a plain loop.
    """
    if importlib.util.find_spec(LIBRARY) is None:
        raise UserError(f"a peer needs {LIBRARY}, which is not installed: `pip install {LIBRARY}`.")
    known: dict[str, Peer] = {peer.method: peer for peer in collect(__package__, "PEER")}
    if cfg.method.name not in known:
        raise UserError(f"method.name={cfg.method.name} has no peer in {LIBRARY}: choose one of {', '.join(known)}.")
    peer = known[cfg.method.name]
    asked = methods.find(peer.method).branches(cfg.method.positive_target, cfg.method.negative_target)
    if asked != peer.targets:
        told = " ".join(
            f"method.{kind}_target={of}" for kind, of in zip(("positive", "negative"), peer.targets, strict=True)
        )
        raise UserError(f"{LIBRARY}'s {peer.method} has other targets than {', '.join(asked)}: set {told}.")
    values = flat(dataclasses.asdict(cfg))
    for key, value in PLAIN.items():
        if values[key] != value:
            raise UserError(f"a peer is trained in a plain loop, without {key}={values[key]}: set {key}={value}.")
    if distributed.asked_world_size() > 1:
        raise UserError(f"a peer is trained by one process, not {distributed.asked_world_size()}: ask for one task.")
    return peer


def build(cfg: config.Config, peer: Peer) -> nn.Module:
    """The peer's modules with the weights at which the row begins with the same seed.

    Its trunk is the library's own, without the norms of each view that ours has.

    Raises:
        UserError: the projector of `cfg` is not the library's.
    """
    ours, form = untrained(cfg)
    trunk = plain_trunk(cfg.model.arch, cfg.data.channels)
    trunk.load_state_dict(ours.online.trunk.state_dict())
    attach(trunk, pixels_of_run(cfg.data))
    return peer.build(trunk, ours, form)


def linear(layers: nn.Module) -> list[nn.Linear]:
    """The linear layers of a projector, the first one first."""
    return [layer for layer in layers.children() if isinstance(layer, nn.Linear)]


def take_over(head: nn.Module, layers: nn.Module) -> None:
    """Give a head of the library the weights of our `layers`, which have to be the same ones in the same order.

    Raises:
        UserError: they are not.
    """
    own = head.get_submodule("layers")
    try:
        own.load_state_dict(layers.state_dict())
    except RuntimeError as error:
        raise UserError(
            f"the projector is not that of {LIBRARY}'s {type(head).__name__} ({' '.join(str(error).split())[:160]}): "
            "set the model's options as the row in configs/pretrain/peers does."
        ) from error
