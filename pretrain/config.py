"""Every option of pretraining, once, documented."""

from __future__ import annotations

from dataclasses import dataclass, field

from pretrain.runtime.options import dump, load

__all__ = ["Config", "Data", "Method", "Mixing", "Model", "Optim", "Run", "Views", "dump", "load"]


@dataclass
class Data:
    """root: class folders, a flat folder of images, or a packed set. workers: loader processes of each rank.

    val: class folders or a packed set; where given (and root has classes), k-NN accuracy is measured along the run.
    """

    root: str = ""
    val: str = ""
    workers: int = 4


@dataclass
class Views:
    """The official augmentation (all views alike); sizes in pixels, scale as shares of the image's area.

    photometry: where jitter, gray, blur and flip are applied: device, worker, or auto: device on a GPU, else worker.
    local_count: further crops of local_size pixels for multi-crop (Appendix B); 0 leaves the two global views alone.
    Of the local crops' numbers the paper's text gives none that could be read: size and scales are SwAV's and DINO's
    (provenance: assumed).
    """

    size: int = 224
    min_scale: float = 0.2
    max_scale: float = 1.0
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    jitter_probability: float = 0.8
    gray_probability: float = 0.2
    blur_probability: float = 0.5
    flip_probability: float = 0.5
    photometry: str = "auto"
    local_count: int = 0
    local_size: int = 96
    local_min_scale: float = 0.05
    local_max_scale: float = 0.4


@dataclass
class Mixing:
    """cutmix_alpha: of the Beta(α, α) of CutMix on the online branch's global views (Section 5.2); 0 leaves it out."""

    cutmix_alpha: float = 0.0


@dataclass
class Model:
    """arch: resnet18|34|50|101. The projector has `projector_depth` linear layers of `projector_width`."""

    arch: str = "resnet50"
    zero_init_residual: bool = True
    projector_depth: int = 3
    projector_width: int = 2048


@dataclass
class Method:
    """A row of Table 2 (pretrain/methods/__init__.py) and what it may be given; null leaves the paper's value.

    balance: λ; null carries the paper's over from C = 2048 to projector_width (for UniGrad about 0.05 × width; 4 ×
    collapses). rho: moving average of F. temperature: τ. eps, predictor_every: DirectPred. queue_size: MoCo, in
    samples. hidden: channels of a learned predictor. variance, gamma: VICReg. positive_target, negative_target:
    momentum|stop_gradient (Table 3).
    """

    name: str = "unigrad"
    balance: float | None = None
    rho: float | None = None
    temperature: float | None = None
    eps: float | None = None
    predictor_every: int | None = None
    queue_size: int | None = None
    hidden: int | None = None
    variance: float | None = None
    gamma: float | None = None
    positive_target: str | None = None
    negative_target: str | None = None


@dataclass
class Optim:
    """optimiser: sgd|lars. lr = base_lr × batch_size / 256, linear warm-up, then cosine to 0.

    batch_size counts all ranks together. bias_base_lr: of biases and norms; null is base_lr. accumulate: parts that a
    rank's share of the batch is passed in, for small GPUs (what is then of a part: pretrain/engine/accumulation.py).
    """

    optimiser: str = "sgd"
    epochs: int = 100
    warmup_epochs: int = 5
    batch_size: int = 1024
    base_lr: float = 0.05
    bias_base_lr: float | None = None
    accumulate: int = 1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    target_momentum: float = 0.996


@dataclass
class Run:
    """device: auto|cpu|cuda. precision: fp32|bf16|fp16. threads: per process on CPU, 0 leaves torch's choice.

    compile: the network, by torch.compile, which takes minutes at the start; null is on CUDA only. Where compiling
    fails, the run says why and goes on without.
    measure_every_epochs: how often what waits for the device is measured, effective rank and, where data.val is given,
    k-NN accuracy on at most knn_images of each set. stop_on_collapse: false only warns. timeout_minutes: after which a
    rank gives up waiting for the others.
    """

    device: str = "auto"
    precision: str = "bf16"
    seed: int = 0
    threads: int = 0
    compile: bool | None = None
    log_every: int = 20
    checkpoint_every_epochs: float = 1.0
    keep_checkpoints: int = 2
    measure_every_epochs: float = 1.0
    knn_images: int = 5000
    stop_on_collapse: bool = True
    timeout_minutes: float = 30.0


@dataclass
class Config:
    """run_dir: where everything of this run is written; starting again with the same one resumes."""

    run_dir: str = ""
    data: Data = field(default_factory=Data)
    views: Views = field(default_factory=Views)
    mixing: Mixing = field(default_factory=Mixing)
    model: Model = field(default_factory=Model)
    method: Method = field(default_factory=Method)
    optim: Optim = field(default_factory=Optim)
    run: Run = field(default_factory=Run)
