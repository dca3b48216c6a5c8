"""A t-SNE plot of val's features (van der Maaten and Hinton, 2008), coloured by class; by scikit-learn."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

from transfer.analysis import FrozenRows, Reading

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

PERPLEXITY = 30
NAMED = 20  # classes in the legend at most


def tsne_picture(frozen: FrozenRows) -> Iterator[tuple[str, Image.Image]]:
    """One picture of at most `images` rows, l2-normalised."""
    from sklearn.manifold import TSNE
    from torch.nn import functional

    chosen = frozen.evenly(frozen.images)
    rows = functional.normalize(frozen.val.rows[chosen], dim=1).numpy()
    perplexity = min(PERPLEXITY, (len(chosen) - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=frozen.seed).fit_transform(rows)
    yield "t-SNE", _plot(points, frozen.val.labels[chosen].tolist(), frozen.data.val.classes)


def _plot(points: np.ndarray, labels: list[int], classes: tuple[str, ...]) -> Image.Image:
    """A scatter plot of points (n, 2), of which each class has a colour."""
    import matplotlib
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(7, 6), dpi=120, layout="constrained")
    axes = figure.subplots()
    colours = matplotlib.colormaps["tab20"]
    for label in sorted(set(labels)):
        own = points[[index for index, other in enumerate(labels) if other == label]]
        axes.scatter(own[:, 0], own[:, 1], s=8, color=colours(label % 20), label=classes[label])
    axes.set(xticks=[], yticks=[])
    if len(classes) <= NAMED:
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return Image.open(file).convert("RGB")


READING = Reading(
    "tsne",
    "a t-SNE picture of val, coloured by class",
    tsne_picture,
    needs={"sklearn": "scikit-learn"},
    least_images=8,
    order=70,
)
