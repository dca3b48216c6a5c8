"""Every option of pretraining, once: default, meaning, range and unit.

Those of the images, of the views, of the optimisers and of each row stand beside what they choose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pretrain.augment.options import Views
from pretrain.data.options import Data
from pretrain.models import TRUNKS
from pretrain.optim.optimisers import NAMES
from pretrain.optim.options import Optim
from pretrain.runtime.options import FIXED, FREE, TOLD, Further, Option, Rule, dump, load, option, options
from pretrain.runtime.registry import names

__all__ = ["Config", "Data", "Method", "Mixing", "Model", "Optim", "Run", "Views", "dump", "load"]

TRACKERS = names([str(Path(__file__).parent / "engine" / "monitor" / "trackers")])
BRANCHES = ("momentum", "stop_gradient")
LIBRARIES = ("lightly",)  # with peers of some rows, tools/trials/peers/
BEST_BY = (
    "knn_top1",
    "linear_top1",
    "effective_rank",
)  # metrics that are measured along a run and rise with the trunk's quality


@dataclass
class Mixing:
    """What is mixed in the online branch's global views (Section 5.2)."""

    cutmix_alpha: float = option(
        0.0,
        "α of the Beta(α, α) from which CutMix draws its shares; 0 leaves it out",
        at_least=0,
        at_most=1000,
        resume=TOLD,
    )


@dataclass
class Model:
    """The trunk and the projector."""

    arch: str = option(
        "resnet50",
        f"trunk: timm/NAME for any network of timm with pooled features, or torchvision's {', '.join(TRUNKS)}",
        resume=FIXED,
    )
    zero_init_residual: bool = option(
        True, "start with residual branches at zero; a run of few epochs is better off without", resume=FIXED
    )
    projector_depth: int = option(3, "linear layers of the projector", at_least=1, at_most=100, resume=FIXED)
    projector_width: int = option(
        2048, "C, width of the rows", at_least=1, at_most=1_000_000, unit="channels", resume=FIXED
    )
    projector_hidden: int | None = option(
        None,
        "width of the projector's layers but the last; unset is projector_width",
        at_least=1,
        at_most=1_000_000,
        unit="channels",
        resume=FIXED,
    )
    projector_norm: str = option(
        "batch", "norm after each layer of the projector but the last", choices=("batch", "none"), resume=FIXED
    )
    projector_last_norm: str = option(
        "none",
        "norm after the projector's last layer; batch_plain: without weight and bias (SimSiam)",
        choices=("none", "batch", "batch_plain"),
        resume=FIXED,
    )
    projector_last_bias: bool = option(True, "whether the projector's last layer has a bias", resume=FIXED)
    init: str = option(
        "",
        "weights to start from: a checkpoint of any project that tools/convert.py reads, hf:USER/NAME on the hub, or a "
        "run folder of ours; empty is random; no resume, and not read again by one",
        path=True,
        resume=FIXED,
    )
    init_branch: str | None = option(
        None,
        "of a file with two branches the one whose trunk is taken, and nothing else; unset is the one that its project "
        "evaluates, and of a checkpoint of ours everything that fits",
        choices=("online", "target"),
        resume=FIXED,
    )
    init_trunk_lr: float = option(
        1.0, "learning rate of a trunk from model.init, as a share of the others'", at_least=0, resume=FIXED
    )
    init_warmup_epochs: float = option(
        0.0,
        "epochs at the start in which a trunk from model.init waits, and only projector and predictor learn",
        at_least=0,
        unit="epochs",
        resume=FIXED,
    )
    freeze_stages: int = option(
        0,
        "stages of a trunk from model.init that never learn: 1 is the stem, 2 the stem and layer1, 5 all of it",
        at_least=0,
        at_most=5,
        resume=FIXED,
    )

    def network(self) -> dict[str, Any]:
        """The options that say what the network is; the others say what it starts from."""
        return {name: value for name, value in vars(self).items() if not name.startswith(("init", "freeze"))}


@dataclass
class Method:
    """A row of the paper's Table 2 (pretrain/methods/); each row has further options of its own, `--help method`."""

    name: str = option(
        "unigrad", "a row of Table 2 or 6; `--help method` lists them", choices=lambda: _rows(), resume=FIXED
    )
    balance: float | None = option(
        None,
        "λ; unset is the paper's, carried over from C = 2048 to projector_width (UniGrad: about 0.05 C; 4 C collapses)",
        at_least=0,
        resume=FIXED,
    )
    positive_target: str | None = option(
        None,
        "branch of the positive gradient's targets (Table 3); unset is the row's own",
        choices=BRANCHES,
        resume=FIXED,
    )
    negative_target: str | None = option(
        None,
        "branch of the negative gradient's targets (Table 3); unset is the row's own",
        choices=BRANCHES,
        resume=FIXED,
    )
    library: str | None = option(
        None,
        "library whose own modules and loss train the row in a plain loop, a peer to compare with (docs/evidence.md); "
        "unset is this code",
        choices=LIBRARIES,
        resume=FIXED,
    )

    @staticmethod
    def further(written: Mapping[str, Any]) -> Further:
        """The options of the row that is named.

        Raises:
            UserError: there is no such row.
        """
        from pretrain import methods  # here, since the forms import torch and this file answers --help

        name = str(written.get("name", "unigrad"))
        everywhere = {key for row in methods.ROWS.values() for key in vars(row.defaults())}
        return Further(name, methods.find(name).options, frozenset(everywhere))


def _rows() -> tuple[str, ...]:
    from pretrain import methods

    return tuple(methods.ROWS)


@dataclass
class Run:
    """How it is computed, and what is written along the way."""

    device: str = option("auto", "auto is a GPU where there is one", choices=("auto", "cpu", "cuda"), resume=TOLD)
    precision: str = option("bf16", "of the network's passes", choices=("fp32", "bf16", "fp16"), resume=TOLD)
    tf32: bool = option(
        False,
        "let a GPU round the factors of fp32's convolutions and products to TF32, F's among them; off, so that fp32 "
        "is fp32",
        resume=TOLD,
    )
    gradient_dtype: str | None = option(
        None,
        "of gradients on their way between ranks; unset: bf16 with precision=bf16, which has most of them in bf16 "
        "before, else fp32",
        choices=("fp32", "bf16"),
        resume=TOLD,
    )
    seed: int = option(0, "of everything random", at_least=0, below=2**63, resume=FIXED)
    threads: int = option(0, "of each process on a CPU; 0 leaves torch's choice", at_least=0, at_most=1024, resume=FREE)
    compile: bool | None = option(
        None,
        "compile the network by torch.compile, which takes minutes at the start; unset: on a GPU only; where it fails, "
        "the run says why and goes on without",
        resume=TOLD,
    )
    cuda_graphs: bool = option(
        False,
        "launch the compiled network as CUDA graphs, for steps of few images; needs a GPU and run.compile",
        resume=TOLD,
    )
    log_every: int = option(20, "how often a line of metrics is written", at_least=1, unit="steps", resume=FREE)
    checkpoint_every_epochs: float = option(
        1.0, "how often a checkpoint is written; 0: every step", at_least=0, unit="epochs", resume=FREE
    )
    keep_checkpoints: int = option(2, "how many of the newest checkpoints are kept", at_least=1, resume=FREE)
    keep_every_epochs: int = option(
        0,
        "how often an export is written that stays, export/epoch_XXXX.pth; 0: never",
        at_least=0,
        unit="epochs",
        resume=FREE,
    )
    keep_best: str | None = option(
        None,
        "metric by which the best trunk so far stays as export/best.pth, of those measured every measure_every_epochs",
        choices=BEST_BY,
        resume=FREE,
    )
    measure_every_epochs: float = option(
        1.0,
        "how often the effective rank and, with data.val, k-NN accuracy are measured",
        at_least=0,
        unit="epochs",
        resume=FREE,
    )
    linear_probe: bool | None = option(
        None,
        "let a linear head learn the labels from the trunk's features, which do not feel it, and log its top-1; unset: "
        "where data.val is given",
        resume=FREE,
    )
    knn_images: int = option(
        5000, "images of each set that k-NN accuracy uses at most", at_least=1, unit="images", resume=FREE
    )
    trackers: list[str] = option(
        ["tensorboard"],
        "experiment trackers that get the metrics and the views; [] for none",
        choices=TRACKERS,
        resume=FREE,
    )
    tracker_project: str = option(
        "",
        "project or experiment in the trackers; unset is their own variable, such as WANDB_PROJECT, or unigrad",
        resume=FREE,
    )
    tracker_weights: bool = option(False, "hand export/trunk.pth to the trackers too, at the end", resume=FREE)
    stop_on_collapse: bool = option(True, "stop a run whose features collapse; false only warns", resume=FREE)
    timeout_minutes: float = option(
        30.0,
        "how long a rank waits for the others or for its images",
        above=0,
        at_most=1e6,
        unit="minutes",
        resume=FREE,
    )


@dataclass
class Config:
    """All of them."""

    run_dir: str = option(
        "", "folder of everything that this run writes; the same one again resumes", path=True, resume=FREE
    )
    data: Data = field(default_factory=Data)
    views: Views = field(default_factory=Views)
    mixing: Mixing = field(default_factory=Mixing)
    model: Model = field(default_factory=Model)
    method: Method = field(default_factory=Method)
    optim: Optim = field(default_factory=Optim)
    run: Run = field(default_factory=Run)


def pretraining_options() -> dict[str, Any]:
    """What `--help` lists of every run, by heading."""
    return {"Options of pretraining (of each row of Table 2: --help method; of each optimiser: --help optim)": Config}


def further_options() -> dict[str, list[Option]]:
    """What `--help method` and `--help optim` list of each row and each optimiser, by heading; imports torch."""
    from pretrain import methods
    from pretrain.optim import build

    def listed(row: methods.Row) -> list[Option]:
        balance = "" if row.balance is None else f"; λ = {row.balance:g} at C = {methods.WIDTH}"
        told = f"row {row.letter} of Table {row.table}; targets {', '.join(row.targets)}{balance}"
        return [Option("method.name", "str", row.name, Rule(told)), *options(row.defaults(), "method.")]

    def of_optimiser(name: str) -> list[Option]:
        found = build.find(name)
        told = f"{found.help}; exclude={found.exclude} where unset"
        return [Option("optim.optimiser", "str", name, Rule(told)), *options(found.options(), "optim.")]

    rows = {f"With method.name={name}": listed(row) for name, row in methods.ROWS.items()}
    return rows | {f"With optim.optimiser={name}": of_optimiser(name) for name in NAMES}
