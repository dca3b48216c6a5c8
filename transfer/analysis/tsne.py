"""A t-SNE plot of val's features (van der Maaten and Hinton, 2008), coloured by class; by scikit-learn."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterator

import matplotlib
from matplotlib.figure import Figure
from PIL import Image
from torch.nn import functional

from pretrain.runtime.errors import UserError
from transfer.analysis.base import Material

PERPLEXITY, LEAST = 30, 8  # images that a plot is made of at least
NAMED = 20  # classes in the legend at most


def check(images: int) -> None:
    """Refuse what `read` could not do, before anything is computed.

    Raises:
        UserError: scikit-learn is not installed, or there are fewer than 8 images.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise UserError("t-SNE needs scikit-learn: pip install scikit-learn, or name other readings=[...] than tsne.")
    if images < LEAST:
        raise UserError(f"t-SNE of {images} images says nothing: give more, or name other readings=[...] than tsne.")


def read(material: Material) -> Iterator[tuple[str, Image.Image]]:
    """One picture of at most `images` rows, l2-normalised.

    Raises:
        UserError: scikit-learn is not installed, or there are fewer than LEAST rows.
    """
    chosen = material.evenly(material.images)
    check(len(chosen))
    from sklearn.manifold import TSNE

    rows = functional.normalize(material.val.rows[chosen], dim=1).numpy()
    perplexity = min(PERPLEXITY, (len(chosen) - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=material.seed).fit_transform(rows)
    yield "t-SNE", _plot(points, material.val.labels[chosen].tolist(), material.data.val.classes)


def _plot(points: object, labels: list[int], classes: tuple[str, ...]) -> Image.Image:
    figure = Figure(figsize=(7, 6), dpi=120, layout="constrained")
    axes = figure.subplots()
    colours = matplotlib.colormaps["tab20"]
    for label in sorted(set(labels)):
        own = [place for place, other in enumerate(labels) if other == label]
        axes.scatter(*points[own].T, s=8, color=colours(label % 20), label=classes[label])
    axes.set(xticks=[], yticks=[])
    if len(classes) <= NAMED:
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return Image.open(file).convert("RGB")
