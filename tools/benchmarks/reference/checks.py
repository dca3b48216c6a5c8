"""What holds the fast path to the reference: each check with its number, its bound, and whether it is within it.

`python tools/benchmark.py equivalence` prints all of them; the other benchmarks show no speed where theirs fail.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any

import numpy as np
import torch
from PIL import Image

from pretrain.augment import photometry
from pretrain.augment.multicrop import Batch, MultiCrop
from pretrain.config import Views
from pretrain.data.decode import decode
from tools.benchmarks.measure import step as step_cost
from tools.benchmarks.reference import equivalence
from tools.benchmarks.reference import views as official_views

DRAWS = 3000  # windows a side of a Kolmogorov-Smirnov test
IMAGES, FEW = 20, 4  # whose pixels are compared, and in the batched photometry, which is slow on a CPU
LEAST_P, MOST_MEAN, MOST_APART = 0.001, 1.0, 24  # of windows; of a view's pixels, in grey levels
ALIKE = equivalence.TOLERANCE["float64"]


@dataclass(frozen=True)
class Check:
    """One number and its bound, the least that it may be or the most."""

    name: str
    value: float
    bound: float
    least: bool = False

    @property
    def passed(self) -> bool:
        """False for what is not a number, too."""
        return self.value >= self.bound if self.least else self.value <= self.bound


def windows() -> Iterator[Check]:
    """Position, size, area and aspect of crops are distributed as torchvision's: Kolmogorov-Smirnov, smallest p."""
    options = Views()
    torch.manual_seed(0)
    for kind, scale in {
        "global": (options.min_scale, options.max_scale),
        "local": (options.local_min_scale, options.local_max_scale),
    }.items():
        found = official_views.window_agreement((375, 500), scale, DRAWS)
        worst = min(found, key=lambda name: found[name])
        yield Check(f"windows of {kind} views, KS: smallest p ({worst})", found[worst], LEAST_P, least=True)


def pixels(files: list[bytes]) -> Iterator[Check]:
    """Decoded pixels are Pillow's, and views for the same numbers are those of Pillow's operations."""
    options = asdict(Views(local_count=6))
    del options["photometry"]
    unlike, means, most, batched = 0, [0.0], [0.0], [0]
    for index, data in enumerate(files[:IMAGES]):
        image = decode(data, index)
        unlike += not np.array_equal(image, np.asarray(official_views.decode(data)))
        for mean, apart in official_views.pixel_agreement(image, options, index):
            means.append(mean)
            most.append(apart)
        if index < FEW:
            batched.append(_batched_apart(image, options, index))
    yield Check(f"images that do not decode to Pillow's pixels, of {min(len(files), IMAGES)}", unlike, 0)
    yield Check("pixels of a view, mean difference in grey levels", max(means), MOST_MEAN)
    yield Check("pixels of a view, largest difference in grey levels", max(most), MOST_APART)
    yield Check("photometry as on the device, largest difference to the workers' in grey levels", max(batched), 1)


def _batched_apart(image: np.ndarray, options: dict[str, Any], index: int) -> int:
    drawn, finished = (MultiCrop(**options, photometry=where)(image, 0, 0, index) for where in ("device", "worker"))
    pairs = zip(photometry.pictures(Batch(*drawn, [])), finished.crops, strict=True)
    return max(int((one.int() - other.int()).abs().max()) for one, other in pairs)


def losses() -> Iterator[Check]:
    """Gradients of the rows that the official code has, in float64 over three steps."""
    for name, make in equivalence.OFFICIAL.items():
        yield Check(f"gradient of {name}, float64", equivalence.small_difference(name, make), ALIKE)


def step(local: int = 0) -> Iterator[Check]:
    """Parameters, statistics and F of both branches after three steps of training in float64."""
    views = f"2 + {local} views" if local else "2 views"
    yield Check(f"state after 3 steps on {views}, float64", step_cost.disagreement(local), ALIKE)


def generated(count: int = 4) -> list[bytes]:
    """JPEG files of smooth ground, edges and grain, used where there are no photographs."""
    return [_jpeg(np.random.default_rng(seed)) for seed in range(count)]


def _jpeg(random: np.random.Generator, size: tuple[int, int] = (500, 375)) -> bytes:
    ground = Image.fromarray(random.integers(40, 216, (9, 12, 3), dtype=np.uint8)).resize(
        size, Image.Resampling.BICUBIC
    )
    picture = np.asarray(ground).astype(float)
    for top, left in random.integers(0, 300, (6, 2)):
        picture[top : top + 60, left : left + 90] = random.integers(0, 256, 3)
    file = BytesIO()
    noisy = (picture + random.normal(0, 4, picture.shape)).clip(0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(file, "JPEG", quality=92)
    return file.getvalue()


def line(check: Check) -> str:
    """`PASS name: value (at most bound)`."""
    bound = f"at {'least' if check.least else 'most'} {check.bound:g}"
    return f"{'PASS' if check.passed else 'FAIL'}  {check.name}: {check.value:.3g} ({bound})"
