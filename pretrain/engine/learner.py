"""What a run is made of: network, method, optimiser and schedules, as the configuration says."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import nn

from pretrain import config, methods
from pretrain.engine.monitor import diagnostics
from pretrain.engine.quality.linear import LinearProbe
from pretrain.engine.statistics import pixels_of_run
from pretrain.engine.warm_start.learning import apart
from pretrain.engine.warm_start.origin import Origin
from pretrain.engine.warm_start.take import take
from pretrain.models.frozen import freeze
from pretrain.models.pixels import Pixels, attach, pixels_of
from pretrain.models.siamese import Branch, Siamese, project, project_keeping
from pretrain.optim.base import Part
from pretrain.optim.build import build as build_optimiser
from pretrain.optim.build import find as find_optimiser
from pretrain.optim.scaling import peak
from pretrain.optim.schedules import Schedule, at_batch, target_momentum, warmup_cosine
from pretrain.runtime import distributed
from pretrain.runtime.devices.compile import compiled

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclasses.dataclass
class Learner:
    """What a step changes. `branch` is the model's online branch, wrapped so that ranks average its gradients."""

    model: Siamese
    branch: nn.Module
    form: methods.GradientForm | methods.LossForm
    targets: tuple[str, str]  # branches of the positive and of the negative gradient's targets (Table 3)
    health: diagnostics.Health
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    lr: Schedule
    target_momentum: Schedule
    device: torch.device
    dtype: torch.dtype
    seed: int
    cutmix_alpha: float
    accumulate: int
    linear: LinearProbe | None = None
    start: dict[str, Any] = dataclasses.field(default_factory=dict)  # what it has started from; empty at random
    trunk_waits: float = 0.0  # share of the run in which the trunk does not learn

    @property
    def pixels(self) -> Pixels:
        """What the images are scaled by."""
        return pixels_of(self.model.online.trunk)

    def parts(self) -> dict[str, object]:
        """All state of a run, by its name in a checkpoint; the order of images is a function of seed and step."""
        names = ("model", "form", "health", "optimizer", "scaler")
        optional = {"linear": self.linear} if self.linear else {}
        return {name: getattr(self, name) for name in names} | optional


def fill_balance(cfg: config.Config) -> config.Config:
    """`cfg` with λ, where it is left unset, as the paper's value carried over to the projector's width.

    Raises:
        UserError: no such row.
    """
    if cfg.method.balance is not None:
        return cfg
    balance = methods.balance_at(cfg.method.name, cfg.model.projector_width)
    return dataclasses.replace(cfg, method=dataclasses.replace(cfg.method, balance=balance))


def parts_of(cfg: config.Config) -> int:
    """optim.accumulate, of which auto was made a number before (peak_memory.py)."""
    assert cfg.optim.accumulate != "auto", "peak_memory.with_parts has chosen"
    return cfg.optim.accumulate


def build_form(cfg: config.Config) -> methods.GradientForm | methods.LossForm:
    """The row of Table 2 that `cfg` names, its balance filled in, with as many channels as the projector.

    Raises:
        UserError: no such row, or an option that the row does not have or cannot take.
    """
    chosen = {key: value for key, value in vars(cfg.method).items() if key not in _NOT_THE_FORM}
    return methods.build(cfg.method.name, width=cfg.model.projector_width, **chosen)


_NOT_THE_FORM = ("name", "positive_target", "negative_target", "library")


def wire(run: config.Run) -> torch.dtype:
    """The type in which ranks send each other their gradients; unset, bf16 in a bf16 run, else fp32.

    Autocast computes the gradient of a convolution's or a product's weight in bf16 and only then widens it. So for them
    bf16 on the wire loses nothing before the ranks' shares are added up.
    """
    return PRECISIONS[run.gradient_dtype or ("bf16" if run.precision == "bf16" else "fp32")]


def untrained(cfg: config.Config) -> tuple[Siamese, methods.GradientForm | methods.LossForm]:
    """Network and method at their random initialisation drawn from run.seed."""
    torch.manual_seed(cfg.run.seed)
    form = build_form(cfg)
    model = Siamese(**cfg.model.network(), normalisation=form.normalisation, channels=cfg.data.channels)
    attach(model.online.trunk, pixels_of_run(cfg.data))
    return model, form


def build(cfg: config.Config, device: torch.device, classes: int = 0, origin: Origin | None = None) -> Learner:
    """Network, method and optimiser as `cfg` says, at their random initialisation drawn from run.seed.

    Args:
        cfg: of the run.
        device: that it is for.
        classes: that a linear head learns to tell apart from the trunk's features; 0 for none.
        origin: weights that are taken instead where they fit.

    Raises:
        UserError: the trunk of `origin` is not this run's.
    """
    model, form = untrained(cfg)
    start = take(origin, model, form) if origin else None
    freeze(model.online.trunk, model.target.trunk, cfg.model.freeze_stages)
    model = model.to(device).to(memory_format=torch.channels_last)
    if cfg.run.compile or (cfg.run.compile is None and device.type == "cuda"):
        model.online.project = model.target.project = compiled(project, "the network", graphs=cfg.run.cuda_graphs)
        model.online.project_keeping = compiled(project_keeping, "the network", graphs=cfg.run.cuda_graphs)
    distributed.average_gradients(form.to(device))  # in place, as every module's `to`
    return Learner(
        model=model,
        branch=distributed.data_parallel(model.online, device, wire(cfg.run)),
        form=form,
        targets=methods.find(cfg.method.name).branches(cfg.method.positive_target, cfg.method.negative_target),
        health=diagnostics.Health().to(device),
        optimizer=_optimiser(cfg, model.online, form),
        scaler=torch.amp.GradScaler(device.type, enabled=cfg.run.precision == "fp16"),
        lr=rates(cfg.optim),
        target_momentum=target_momenta(cfg.optim),
        device=device,
        dtype=PRECISIONS[cfg.run.precision],
        seed=cfg.run.seed,
        cutmix_alpha=cfg.mixing.cutmix_alpha,
        accumulate=parts_of(cfg),
        linear=LinearProbe(model.features, classes, device) if classes else None,
        start=dataclasses.asdict(start) if start else {},
        trunk_waits=cfg.model.init_warmup_epochs / cfg.optim.epochs,
    )


def _optimiser(cfg: config.Config, online: Branch, form: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of all that learns; a trunk that has learned before has groups of its own."""
    optim = cfg.optim
    parts = [Part([*online.named_parameters(), *form.named_parameters()])]
    if optim.predictor_lr == "constant":
        constant = peak(optim.base_lr, optim.batch_size, optim.lr_scaling)
        parts = [Part(online.named_parameters()), Part(form.named_parameters(), constant=constant)]
    optimizer = build_optimiser(
        optim.optimiser,
        parts,
        optim.momentum,
        optim.weight_decay,
        bias_lr_share=1.0 if optim.bias_base_lr is None else optim.bias_base_lr / optim.base_lr,
        exclude=optim.exclude,
        options={name: getattr(optim, name, None) for name in vars(find_optimiser(optim.optimiser).options())},
    )
    if cfg.model.init:
        apart(optimizer, online.trunk, cfg.model.init_trunk_lr)
    return optimizer


def rates(optim: config.Optim) -> Schedule:
    """The learning rate, by the share of steps that are done."""
    highest = peak(optim.base_lr, optim.batch_size, optim.lr_scaling)
    return warmup_cosine(highest, optim.warmup_epochs / optim.epochs, highest * optim.final_lr_share)


def target_momenta(optim: config.Optim) -> Schedule:
    """The momentum of the target, by the share of steps that are done."""
    schedule = target_momentum(optim.target_momentum, optim.target_momentum_end)
    return at_batch(schedule, optim.batch_size, optim.target_momentum_batch)
