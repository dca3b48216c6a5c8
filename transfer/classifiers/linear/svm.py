"""Linear support vector machines of LIBLINEAR on unit rows: all of train, and few images a class (Goyal et al., 2019).

Costs, class weights, the three folds and the draws are those of facebookresearch/fair_self_supervision_benchmark,
tools/svm/ and extra_scripts/create_voc_low_shot_samples.py.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from transfer.classifiers.average_precision import means, of_classes

ALL = "all images "  # before the names of the metrics of all of train
COSTS = (0.01, 0.1, *(0.5**power for power in range(4, 20)))
WEIGHTS = {1: 2, -1: 1}  # of images that show the class, and of the others
FOLDS = 3
SHOTS = (1, 2, 4, 8, 16, 32, 64, 96)
DRAWS = 5


def protocol(draws: int, costs: int) -> str:
    """The human name of this evaluation."""
    return (
        f"LIBLINEAR on unit rows, squared hinge, positives weighted 2, {costs} costs: by {FOLDS} folds of train for "
        f"all images; for k images a class, {draws} draws and the cost of the best mean on test, as published; area mAP"
    )


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows (n, D) in float64, divided by their length plus 1e-5."""
    long = rows.astype(np.float64)
    result: np.ndarray = long / (np.linalg.norm(long, axis=1, keepdims=True) + 1e-5)
    return result


def machine(cost: float, seed: int = 0) -> Any:
    """LIBLINEAR's dual of the squared hinge with an l2 penalty."""
    from sklearn.svm import LinearSVC

    return LinearSVC(C=cost, class_weight=WEIGHTS, intercept_scaling=1.0, tol=1e-4, max_iter=2000, random_state=seed)


def of_all(rows: np.ndarray, marks: np.ndarray, costs: Sequence[float], seed: int) -> tuple[list[Any], list[float]]:
    """One machine a class, fitted on all rows (n, D), its cost chosen by average precision over three folds of train.

    As published, an image whose objects of the class are all difficult trains as one without it.

    Args:
        rows: of train, of unit length.
        marks: (n, classes).
        costs: that compete; of equal ones the first wins.
        seed: of LIBLINEAR's order.

    Returns: the machines, and the cost of each.
    """
    from sklearn.model_selection import cross_val_score

    machines, chosen = [], []
    for one in range(marks.shape[1]):
        targets = signs(marks[:, one])
        folds = {"cv": FOLDS, "scoring": "average_precision"}
        scores = [cross_val_score(machine(cost, seed), rows, targets, **folds).mean() for cost in costs]
        chosen.append(costs[int(np.argmax(scores))])
        machines.append(machine(chosen[-1], seed).fit(rows, targets))
    return machines, chosen


def score_all(
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    costs: Sequence[float],
    seed: int,
    classes: Sequence[str],
) -> tuple[dict[str, float], dict[str, object], np.ndarray]:
    """mAP on test of machines of all of train, by each of the field's rules; the cost and the AP of each class; scores.

    Args:
        train, test, costs, seed: as of `few`.
        classes: names.
    """
    machines, chosen = of_all(*train, costs, seed)
    scores = np.stack([each.decision_function(test[0]) for each in machines], axis=1)
    each = of_classes(scores, test[1]).tolist()
    details: dict[str, object] = {"cost of each class": dict(zip(classes, chosen, strict=True))}
    details |= {"AP area of each class": dict(zip(classes, each, strict=True))}
    return {f"{ALL}{name}": value for name, value in means(scores, test[1]).items()}, details, scores


def drawn(marks: np.ndarray, shots: int, generator: np.random.Generator) -> list[np.ndarray]:
    """For each class the images of one draw: `shots` that show it, and classes - 1 times as many that do not.

    Where fewer do not show it, all of these. Difficult images are in no draw.
    """
    images = []
    for one in range(marks.shape[1]):
        there, absent = (np.flatnonzero(marks[:, one] == value) for value in (1, 0))
        others = min(len(absent), (marks.shape[1] - 1) * shots)
        images.append(np.concatenate([generator.permutation(there)[:shots], generator.permutation(absent)[:others]]))
    return images


def few(
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    shots: Sequence[int],
    draws: int,
    costs: Sequence[float],
    seed: int,
) -> Iterator[tuple[int, float, float, float]]:
    """For each number of shots: itself, mean and sample deviation over draws of mAP in percent, and the cost.

    As published, the cost is that of the highest mean on test.

    Args:
        train: rows (n, D) of unit length, and marks (n, classes).
        test: the same.
        shots: numbers of images a class, each at most what every class has.
        draws: independent ones, at least 1.
        costs: that compete.
        seed: of the draws.
    """
    (rows, marks), (queries, truth) = train, test
    for count in shots:
        by_cost = np.zeros((draws, len(costs)))
        for draw in range(draws):
            images = drawn(marks, count, np.random.default_rng((seed, draw, count)))
            for place, cost in enumerate(costs):
                fitted = (machine(cost, seed).fit(rows[at], signs(marks[at, one])) for one, at in enumerate(images))
                scores = np.stack([each.decision_function(queries) for each in fitted], axis=1)
                by_cost[draw, place] = of_classes(scores, truth).mean()
        best = int(by_cost.mean(0).argmax())
        values = by_cost[:, best].tolist()
        yield count, statistics.fmean(values), statistics.stdev(values) if draws > 1 else 0.0, costs[best]


def signs(marks: np.ndarray) -> np.ndarray:
    """1 where a class is there, -1 where it is not."""
    return np.where(marks == 1, 1, -1)
