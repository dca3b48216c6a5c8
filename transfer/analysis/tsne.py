"""A t-SNE plot of val's features (van der Maaten and Hinton, 2008), coloured by class; by scikit-learn."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from pretrain.runtime.printable import shortened
from transfer.analysis import FrozenRows, Reading

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from PIL import Image

PERPLEXITY = 30
NAMED, LONGEST = 20, 40  # classes in the legend at most, and characters of a name


def tsne_picture(frozen: FrozenRows) -> Iterator[tuple[str, Callable[[], Image.Image]]]:
    """One picture of at most `images` rows, l2-normalised."""
    yield "t-SNE", partial(_draw, frozen)


def _draw(frozen: FrozenRows) -> Image.Image:
    from PIL import Image
    from sklearn.manifold import TSNE
    from torch.nn import functional

    chosen = frozen.evenly(frozen.images)
    rows = functional.normalize(frozen.val.rows[chosen], dim=1).numpy()
    perplexity = min(PERPLEXITY, (len(chosen) - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=frozen.seed).fit_transform(rows)
    drawn, file = plot(points, frozen.val.labels[chosen].tolist(), frozen.data.val.classes), io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # of scripts that the font lacks: it draws boxes
        drawn.savefig(file, format="png")
    return Image.open(file).convert("RGB")


def plot(points: np.ndarray, labels: Sequence[int], classes: Sequence[str]) -> Figure:
    """A scatter plot of points (n, 2), of which each class has a colour."""
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 6), dpi=120, layout="constrained")
    axes = figure.subplots()
    colours = matplotlib.colormaps["tab20"]
    for label in sorted(set(labels)):
        own = points[[index for index, other in enumerate(labels) if other == label]]
        axes.scatter(own[:, 0], own[:, 1], s=8, color=colours(label % 20), label=str(label))
    axes.set(xticks=[], yticks=[])
    if len(classes) <= NAMED:
        legend = axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        for text in legend.get_texts():  # afterwards, for a label may neither begin with _ nor hold mathematics
            text.set_parse_math(False)
            text.set_text(shortened(classes[int(text.get_text())], LONGEST))
    return figure


READING = Reading(
    "tsne",
    "a t-SNE picture of val, coloured by class",
    tsne_picture,
    needs={"sklearn": "scikit-learn"},
    least_images=8,
    order=70,
)
