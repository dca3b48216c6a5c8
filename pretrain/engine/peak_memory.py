"""How much of a device's memory a step takes at its fullest, from the shapes alone: nothing is run or allocated.

What autograd keeps of the online pass is counted by its own hook, on tensors without storage (device "meta"), and grows
linearly with the images. It is that of an uncompiled pass: a compiled one keeps less, how much less was not measured.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import nn

from pretrain import config
from pretrain.engine.learner import PRECISIONS, build_form
from pretrain.methods import GradientForm, LossForm, find
from pretrain.methods.collectives import FLOAT, Remembers, Shapes
from pretrain.models.batchnorm import ViewBatchNorm
from pretrain.models.frozen import freeze
from pretrain.models.siamese import Siamese, project
from pretrain.optim.build import find as find_optimiser
from pretrain.runtime import distributed
from pretrain.runtime.errors import UserError

GIB = 2**30
WORKSPACE = 2 * GIB  # an assumption: the CUDA context, workspaces of cuDNN and cuBLAS, what the allocator splits
COMPILED = 0.9  # what a compiled pass keeps of what an uncompiled one does, at least; .96 was seen (docs/scaling.md)
COUNTED = (2, 4)  # images of the two passes from which any number follows


class Peak(NamedTuple):
    """Bytes at the fullest moment of a step, when the backward pass begins.

    held: between two steps. inputs: views of the batch. kept: by autograd. passing: the largest gradients of maps, or
    LARS's copy of the gradients. workspace: WORKSPACE.
    """

    held: int
    inputs: int
    kept: int
    passing: int
    workspace: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)

    def least(self, compiled: bool) -> float:
        """What a step takes at least, whatever the assumptions are worth."""
        return self.held + self.inputs + self.kept * (COMPILED if compiled else 1)


class StepMemory:
    """What a configuration's step holds; its networks and its form have no storage."""

    def __init__(self, cfg: config.Config) -> None:
        self.cfg = cfg
        with torch.device("meta"):
            self.form: GradientForm | LossForm = build_form(cfg)
            normalisation, channels = self.form.normalisation, cfg.data.channels
            self.model = Siamese(**cfg.model.network(), normalisation=normalisation, channels=channels)
            freeze(self.model.online.trunk, self.model.target.trunk, cfg.model.freeze_stages)
        self.targets = set(find(cfg.method.name).branches(cfg.method.positive_target, cfg.method.negative_target))
        self.extra = "stop_gradient" in self.targets and bool(cfg.mixing.cutmix_alpha)  # clean views pass online, too
        for norm in _norms(self.model):  # as on one rank: what is kept is the same, and no other rank is asked
            vars(norm)["forward"] = norm.alone
        self._kept: tuple[int, int, int] | None = None

    def shapes(self, images: int) -> Shapes:
        """The size of a step with so many images on this rank."""
        count, batch = self.cfg.views.global_count, self.cfg.optim.batch_size
        return Shapes(count + self.cfg.views.local_count, count, images, batch, self.cfg.model.projector_width)

    def held(self, images: int) -> dict[str, int]:
        """Bytes between two steps, and of a step's rows; activations are not among them."""
        learning = nbytes([*self.model.online.parameters(), *self.form.parameters()])
        kept = find_optimiser(self.cfg.optim.optimiser).kept(self.cfg.optim.momentum)
        branches = ("momentum" in self.targets) + self.extra
        shapes = self.shapes(images)
        return {
            "parameters": sum(nbytes([*part.parameters(), *part.buffers()]) for part in (self.model, self.form)),
            "gradients": learning,
            "optimiser": learning * kept,
            "memory": _remembered(self.form, shapes),
            "rows": shapes.rows(shapes.views + shapes.global_views * branches),
        }

    def kept(self, images: int) -> tuple[int, int]:
        """Bytes that autograd keeps of an online pass of so many images, autocast's copies of weights among them.

        And the largest tensor of these.
        """
        if self._kept is None:
            few, many = (_kept(self.model, self._views(count), self._dtype) for count in COUNTED)
            slope = (many[0] - few[0]) // (COUNTED[1] - COUNTED[0])
            self._kept = few[0] - slope * COUNTED[0], slope, few[1] // COUNTED[0]
        fixed, slope, largest = self._kept
        copies = nbytes(self.model.online.parameters()) // 2 if self._dtype.itemsize < FLOAT else 0
        return fixed + copies + slope * images, largest * images

    def peak(self, images: int, parts: int) -> Peak:
        """Of a step with so many images on this rank, passed in so many parts."""
        kept, largest = self.kept(images // parts)
        held = self.held(images)
        pixels = sum(count * 3 * side**2 for count, side in self._sizes)
        mixed = self.cfg.views.global_count * 3 * self.cfg.views.size**2 * FLOAT if self.cfg.mixing.cutmix_alpha else 0
        inputs = images * (pixels * (2 + FLOAT) + mixed)  # as bytes twice: the next batch is copied meanwhile
        copied = held["gradients"] * find_optimiser(self.cfg.optim.optimiser).copies
        return Peak(sum(held.values()), inputs, kept, max(2 * largest, copied - kept, 0), WORKSPACE)

    @property
    def _dtype(self) -> torch.dtype:
        return PRECISIONS[self.cfg.run.precision]

    @property
    def _sizes(self) -> list[tuple[int, int]]:
        """Number and side of the views of each size."""
        views = self.cfg.views
        local = [(views.local_count, views.local_size)] if views.local_count else []
        return [(views.global_count, views.size), *local]

    def _views(self, images: int) -> list[torch.Tensor]:
        """What passes through the network at once: on a GPU global views one by one, local ones together."""
        (count, side), *local = self._sizes
        sizes = [(1, side)] * count + local
        return [
            torch.empty(n, images, self.cfg.data.channels, side, side, dtype=self._dtype, device="meta")
            for n, side in sizes
        ]


def _kept(model: Siamese, passes: Iterable[torch.Tensor], dtype: torch.dtype) -> tuple[int, int]:
    """Bytes of all storages that autograd keeps beside the weights, and of the largest one."""
    online = model.online
    for part in (online.trunk, online.projector):  # as under autocast: maps in `dtype`
        part.to(dtype)
        part.to(memory_format=torch.channels_last)
    own = {tensor.untyped_storage()._cdata for tensor in [*online.parameters(), *online.buffers()]}
    seen: dict[int, torch.UntypedStorage] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        """Remember what autograd keeps, once for all tensors that share it."""
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            seen[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        rows = [project(online.trunk, online.projector, views) for views in passes]
    sizes = [storage.nbytes() for storage in seen.values()]
    for part in (online.trunk, online.projector):
        part.to(torch.float32)
    del rows  # alive until here, and with them what is kept
    return sum(sizes), max(sizes)


def _norms(model: nn.Module) -> list[ViewBatchNorm]:
    return [module for module in model.modules() if isinstance(module, ViewBatchNorm)]


def nbytes(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of all of them."""
    return sum(tensor.nbytes for tensor in tensors)


def _remembered(form: nn.Module, shapes: Shapes) -> int:
    """Bytes of a form's memory, and of the F behind the effective rank, which every run has."""
    own = sum(part.held(shapes) for part in form.modules() if isinstance(part, Remembers))
    return own + shapes.width * shapes.width * FLOAT


def fewest_parts(memory: StepMemory, images: int, room: float) -> int | None:
    """The fewest equal parts of so many images whose step takes at most `room` bytes; None where none does."""
    return next((count for count in _parts(images) if memory.peak(images, count).total <= room), None)


def _parts(images: int) -> list[int]:
    """Numbers of equal parts, each of two images or more, as batch normalisation needs."""
    return [count for count in range(1, max(images // 2, 1) + 1) if images % count == 0]


def with_parts(cfg: config.Config, device: torch.device) -> config.Config:
    """`cfg` with a number in place of optim.accumulate=auto, the same on all ranks; 1 on a CPU.

    Raises:
        UserError: on a GPU, on all ranks: a step cannot fit into the memory that is free there.
    """
    asked, images = cfg.optim.accumulate, cfg.optim.batch_size // distributed.world_size()
    parts = 1 if asked == "auto" else asked
    if device.type == "cuda" and images and images % parts == 0:
        room = min(distributed.gathered(_free(device)))
        memory = StepMemory(cfg)
        fewest = fewest_parts(memory, images, room) if asked == "auto" else parts
        parts = fewest or _parts(images)[-1]
        _check(memory, images, parts, room, device)
    return dataclasses.replace(cfg, optim=dataclasses.replace(cfg.optim, accumulate=parts))


def _free(device: torch.device) -> int:
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def _check(memory: StepMemory, images: int, parts: int, room: float, device: torch.device) -> None:
    """Refuse what cannot fit, before it is tried.

    Raises:
        UserError: with what it takes, what there is, and what to change.
    """
    peak = memory.peak(images, parts)
    if (least := peak.least(memory.cfg.run.compile is not False)) <= room:
        return
    fewest = fewest_parts(memory, images, room)
    remedy = (
        f"set optim.accumulate={fewest}, or auto"
        if fewest
        else "take more processes, a lower optim.batch_size, or a smaller network"
    )
    raise UserError(
        f"a step cannot fit into the memory of {device}: it takes at least {least / GIB:.1f} GiB, of which "
        f"{peak.kept / GIB:.1f} GiB are activations of {images // parts} images, and {room / GIB:.1f} GiB are free; "
        f"{remedy}."
    )
