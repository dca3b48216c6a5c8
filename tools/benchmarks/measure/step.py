"""What a training step costs beside the official code's, on images that are ready; and how far apart the two are.

Ours is `pretrain.step.step` on a `Learner`, which takes uint8 views and normalises them inside; the official
one (reference/step.py) gets the same views normalised. Both start from the same weights.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch

from pretrain.augment.multicrop import Batch
from pretrain.augment.normalisation import normalise
from pretrain.config import Config, Views, load
from pretrain.engine.learner import Learner, build, fill_balance
from pretrain.engine.validate import ready
from pretrain.methods.unigrad import UniGrad
from pretrain.step import step as take_step
from tools.benchmarks import timing
from tools.benchmarks.measure import launches
from tools.benchmarks.reference import step
from tools.benchmarks.reference.lightly_step import LightlyTraining
from tools.benchmarks.reference.step import OfficialTraining
from tools.benchmarks.timing import Spread

OURS = {"ours fp32": ["run.precision=fp32"], "ours bf16": ["run.precision=bf16"]}  # what each contender sets
ON_GPU = {  # which compiles by itself
    "ours bf16, not compiled": ["run.precision=bf16", "run.compile=false"],
    "ours bf16, CUDA graphs": ["run.precision=bf16", "run.cuda_graphs=true"],
}
OFFICIAL = {"official-style fp32": torch.float32, "official-style bf16": torch.bfloat16}
OFFICIAL_ON_GPU = {"official-style fp16": torch.float16, "official-style bf16": torch.bfloat16}
LIGHTLY = "lightly's BYOL bf16"  # where lightly is installed; it has no local views here
AT_ONCE = {"cpu": 1, "cuda": 10}  # steps of one timing: a step of a GPU may begin before the last one is over
SCHEDULE = 100_000  # steps of the whole run that the timed ones are the middle of
TARGETS = {  # device, arch, size, local views: what is to be reached
    ("cpu", "resnet18", 64, False): "ours bf16 at least 1.5 times official-style fp32",
    ("cpu", "resnet50", 96, False): "ours bf16 at least 2.3 times official-style fp32",
    ("cuda", "resnet50", 224, False): "ours bf16 at least 1.8 times official-style fp16, and 1,300 images/s",
    ("cuda", "resnet50", 224, True): "ours bf16 at least 950 images/s",
}


@dataclass(frozen=True)
class Size:
    """Of a step: network, views in pixels, images, channels of the rows."""

    arch: str = "resnet18"
    size: int = 64
    batch: int = 32
    width: int = 2048
    locals: int = 0
    local_size: int = 96

    def config(self, *overrides: str) -> Config:
        """The options of a run of that size.

        Raises:
            UserError: an override that names no option.
        """
        own = [
            f"model.arch={self.arch}",
            f"model.projector_width={self.width}",
            f"views.size={self.size}",
            f"views.local_count={self.locals}",
            f"views.local_size={self.local_size}",
            f"optim.batch_size={self.batch}",
        ]
        return fill_balance(load(Config, None, [*own, *overrides]))

    def check(self, *overrides: str) -> None:
        """Refuse what no run could have.

        Raises:
            UserError: an option that is out of range or not known.
        """
        ready(self.config("data.root=noise", "run_dir=none", "data.workers=0", *overrides))

    def batch_of_noise(self, device: torch.device, seed: int = 0) -> Batch:
        """Views of random bytes, on the device, their photometry done."""
        generator, shapes = torch.Generator().manual_seed(seed), [(Views().global_count, self.size)]
        shapes += [(self.locals, self.local_size)] if self.locals else []
        crops = [
            torch.randint(0, 256, (views, self.batch, 3, side, side), dtype=torch.uint8, generator=generator)
            for views, side in shapes
        ]
        return Batch(tuple(crop.to(device) for crop in crops), None, [])


@dataclass(frozen=True)
class Cost:
    """Seconds of a step of a contender. ratio: of the first contender's time to this one's, in rounds in pairs.

    peak: bytes that the contender and its step take on a GPU at most, and launches: how often the host launches
    something there in a step; None on a CPU.
    """

    contender: str
    images: int
    seconds: Spread
    ratio: Spread | None
    peak: int | None
    launches: int | None


def official_of(learner: Learner, cfg: Config, precision: torch.dtype) -> OfficialTraining:
    """The official step on a network with the weights of the learner's as it stands."""
    optim, model = cfg.optim, cfg.model
    network = step.network(model.arch, model.projector_width, model.projector_depth)
    for theirs, ours in zip(network, (learner.model.online.trunk, learner.model.online.projector), strict=True):
        theirs.load_state_dict(ours.state_dict())
    form = learner.form
    assert isinstance(form, UniGrad), "the official step is that of the paper's own row"
    return OfficialTraining(
        network.to(learner.device),
        form.balance,
        form.correlation.rho,
        optim.momentum,
        optim.weight_decay,
        precision,
    )


def disagreement(locals: int = 0, steps: int = 3) -> float:
    """Largest relative difference of any tensor of the two after steps in float64 from the same weights.

    Compared are parameters and running statistics of online and target branch, and F. A ResNet-18, 8 images of 32
    pixels, C = 32.
    """
    torch.set_default_dtype(torch.float64)
    try:
        size = Size("resnet18", 32, 8, 32, locals, 32)
        cfg = size.config("optim.base_lr=1", "run.precision=fp32")
        ours = build(cfg, torch.device("cpu"))
        ours.dtype = torch.float64
        theirs = official_of(ours, cfg, torch.float64)
        for done in range(steps):
            batch = size.batch_of_noise(ours.device, done)
            stepped = take_step(ours, batch, done + 1, 2 * steps).settings
            views = [normalise(crop).double() for crop in batch.crops]
            theirs(views, stepped["lr"], stepped["target_momentum"])
    finally:
        torch.set_default_dtype(torch.float32)
    assert isinstance(ours.form, UniGrad) and theirs.loss.corr is not None
    pairs = [(ours.form.correlation.corr, theirs.loss.corr)]
    for own, other in ((ours.model.online, theirs.online), (ours.model.target, theirs.target)):
        pairs += zip(own.state_dict().values(), other.state_dict().values(), strict=True)
    return max(_apart(*pair) for pair in pairs)


def _apart(own: torch.Tensor, other: torch.Tensor) -> float:
    """Infinite where one is not finite."""
    own, other = own.double(), other.double()
    gap = ((own - other).norm() / other.norm().clamp(min=1e-12)).item()
    return gap if gap == gap else float("inf")


def measure(
    size: Size, repeats: int, device: torch.device, tell: Callable[[str], None], left_out: str = "nothing"
) -> Iterator[Cost]:
    """The cost of a step of each contender, all taking turns; the first is what the ratios are to.

    Args:
        size: of the batch and the network.
        repeats: rounds, each of some steps of every contender.
        device: where the steps run.
        tell: is given a sentence whenever a contender is ready, and before the measurement, which takes long.
        left_out: part of the names of contenders that do not take part.
    """
    batch, at_once = size.batch_of_noise(device), AT_ONCE[device.type]
    contenders, peaks = {}, {}
    for name, make in _makers(size, batch, device).items():
        if left_out not in name:
            start = time.monotonic()
            contenders[name], peaks[name] = _warm(make, device)
            tell(f"{name} is ready after {time.monotonic() - start:.0f} s")
    round_takes = sum(timing.seconds(call, device) for call in contenders.values()) * at_once
    tell(f"{repeats} rounds, about {repeats * round_takes:.0f} s")
    several = {name: partial(_repeated, call, at_once) for name, call in contenders.items()}
    times = timing.take_turns(several, repeats, device)
    first = next(iter(times.values()))
    for name, taken in times.items():
        seconds = timing.spread([one / at_once for one in taken])
        ratio = timing.faster(first, taken) if taken is not first else None
        counted = launches.count(contenders[name]) if device.type == "cuda" else None
        yield Cost(name, size.batch, seconds, ratio, peaks[name], counted)


def _makers(size: Size, batch: Batch, device: torch.device) -> dict[str, Callable[[], Callable[[], object]]]:
    """By name, what makes a contender; the official code's come first."""
    ours = OURS | (ON_GPU if device.type == "cuda" else {})
    makers: dict[str, Callable[[], Callable[[], object]]] = {
        name: partial(_official, size, batch, kind) for name, kind in _official_on(device).items()
    }
    makers |= {name: partial(_ours, size, batch, own) for name, own in ours.items()}
    if importlib.util.find_spec("lightly") and not size.locals:
        makers[LIGHTLY] = partial(_lightly, size, batch)
    return makers


def _repeated(call: Callable[[], object], times: int) -> None:
    for _ in range(times):
        call()


def _official_on(device: torch.device) -> dict[str, torch.dtype]:
    return OFFICIAL_ON_GPU if device.type == "cuda" else OFFICIAL


def _official(size: Size, batch: Batch, precision: torch.dtype) -> Callable[[], object]:
    device = batch.crops[0].device
    cfg = size.config()
    learner, views = build(cfg, device), [normalise(crop) for crop in batch.crops]
    training = official_of(learner, cfg, precision)
    lr, momentum = learner.lr(0.5), learner.target_momentum(0.5)
    return lambda: training(views, lr, momentum)


def _lightly(size: Size, batch: Batch) -> Callable[[], object]:
    cfg, device = size.config(), batch.crops[0].device
    optim, views = cfg.optim, [normalise(crop) for crop in batch.crops]
    training = LightlyTraining(size.arch, size.width, optim.momentum, optim.weight_decay, torch.bfloat16, device)
    return lambda: training(views, optim.base_lr, optim.target_momentum)


def _ours(size: Size, batch: Batch, overrides: list[str]) -> Callable[[], object]:
    learner = build(size.config(*overrides), batch.crops[0].device)
    return lambda: take_step(learner, batch, SCHEDULE // 2, SCHEDULE)


def _warm(make: Callable[[], Callable[[], object]], device: torch.device) -> tuple[Callable[[], object], int | None]:
    """A contender after two steps, which allocate and compile, and the memory it took at most."""
    on_gpu = device.type == "cuda"
    before = torch.cuda.memory_allocated(device) if on_gpu else 0
    call = make()
    for left in reversed(range(2)):
        if on_gpu and not left:
            torch.cuda.reset_peak_memory_stats(device)
        call()
    if on_gpu:
        torch.cuda.empty_cache()  # the next contender's blocks have other sizes
    return call, torch.cuda.max_memory_allocated(device) - before if on_gpu else None


def target(size: Size, device: torch.device) -> str:
    """What a step of that size is to reach, where that was said."""
    said = TARGETS.get((device.type, size.arch, size.size, bool(size.locals)))
    return f"to be reached here: {said}" if said else "no target was set for this size"


HEADER = "step                 | s a step                   | images/s | times the first      | peak memory"


def line(cost: Cost) -> str:
    """A row under HEADER."""
    ratio = cost.ratio.text(1, 2) if cost.ratio else ""
    peak = f"{cost.peak / 2**30:.2f} GiB" if cost.peak is not None else ""
    rate = cost.images / cost.seconds.median
    return f"{cost.contender:20} | {cost.seconds.text(1, 3):26} | {rate:8.1f} | {ratio:20} | {peak}".rstrip(" |")
