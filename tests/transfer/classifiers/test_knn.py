"""transfer.classifiers.knn against the definition, written with loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from pretrain.runtime.errors import UserError
from transfer.classifiers import knn
from transfer.features.rows import Features, RowFile

CPU = torch.device("cpu")


def by_definition(train, labels, query, classes, k, temperature):
    """Class votes of one query: sort all cosines, walk the first k."""
    cosines = []
    for row in train.tolist():
        dot = sum(a * b for a, b in zip(row, query, strict=True))
        cosines.append(dot / math.sqrt(sum(a * a for a in row)) / math.sqrt(sum(b * b for b in query)))
    votes = [0.0] * classes
    for index in sorted(range(len(cosines)), key=lambda i: -cosines[i])[:k]:
        votes[labels[index]] += math.exp(cosines[index] / temperature)
    return votes


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (20, 0.07), (40, 0.1)])
def test_votes_equal_the_definition(k, temperature):
    generator = torch.Generator().manual_seed(0)
    train = torch.randn(60, 5, generator=generator, dtype=torch.float64) + 0.3
    queries = torch.randn(17, 5, generator=generator, dtype=torch.float64) + 0.3
    labels = torch.randint(4, (60,), generator=generator)
    votes = knn.votes(train, labels, queries, 4, k, temperature)
    for query, vote in zip(queries.tolist(), votes, strict=True):
        expected = torch.tensor(by_definition(train, labels.tolist(), query, 4, k, temperature), dtype=torch.float64)
        assert torch.allclose(vote * math.exp(1 / temperature), expected, rtol=1e-10, atol=0)


def test_length_of_rows_and_chunking_change_nothing(monkeypatch):
    generator = torch.Generator().manual_seed(1)
    train, queries = torch.randn(2, 50, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (50,), generator=generator)
    expected = knn.votes(train, labels, queries, 3, 10, 0.1)
    monkeypatch.setattr(knn, "QUERIES", 7)
    monkeypatch.setattr(knn, "BANK", 6)  # fewer than k, and the last block smaller
    lengths = torch.rand(2, 50, 1, generator=generator, dtype=torch.float64) + 0.1
    assert torch.allclose(knn.votes(train * lengths[0], labels, queries * lengths[1], 3, 10, 0.1), expected)


def features_of(rows, labels):
    return Features(rows, labels, tuple(map(str, range(len(rows)))), (), 0.0)


def test_k_beyond_the_training_set_is_clipped_and_said():
    generator = torch.Generator().manual_seed(2)
    rows, labels = torch.randn(30, 4, generator=generator), torch.arange(30) % 3
    metrics = knn.knn_accuracy(features_of(rows, labels), features_of(rows[:9], labels[:9]), 3, CPU)
    everyone = knn.votes(rows, labels, rows[:9], 3, 30, 0.1).argmax(1)
    assert metrics["top1 k=200 T=0.1"] == pytest.approx((everyone == labels[:9]).double().mean().item() * 100)
    assert "k=200 clipped to the 30 training images" in knn.protocol(30)
    assert "clipped" not in knn.protocol(200)


def test_both_settings_are_reported_by_name():
    rows = torch.eye(3).repeat(70, 1)
    labels = torch.arange(3).repeat(70)
    metrics = knn.knn_accuracy(features_of(rows, labels), features_of(torch.eye(3), torch.tensor([0, 1, 0])), 3, CPU)
    assert metrics == {"top1 k=200 T=0.1": pytest.approx(200 / 3), "top1 k=20 T=0.07": pytest.approx(200 / 3)}


def test_the_reading_to_quote_is_one_whose_neighbours_could_all_be_of_one_class():
    assert knn.settings(images=9469, classes=10)[0] == (200, 0.1)
    assert knn.settings(images=1000, classes=8) == [(20, 0.07), (200, 0.1)]


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (20, 0.07), (50, 0.1), (20, math.inf)])
def test_predictions_are_scikit_learns_weighted_and_by_majority(k, temperature):
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(600) % 5
    rows = torch.randn(5, 8, generator=generator, dtype=torch.float64)[labels]
    rows = rows + 1.5 * torch.randn(600, 8, generator=generator, dtype=torch.float64)
    train, queries = rows[:400], rows[400:]

    def weights(distances):
        return np.exp(-distances / temperature)

    oracle = KNeighborsClassifier(k, metric="cosine", algorithm="brute", weights=weights).fit(train, labels[:400])
    ours = knn.votes(train, labels[:400], queries, 5, k, temperature)
    assert ours.argmax(1).tolist() == oracle.predict(queries).tolist()


def test_a_bank_on_disk_gives_what_one_in_memory_gives(tmp_path, monkeypatch):
    generator = torch.Generator().manual_seed(4)
    rows = torch.randn(101, 6, generator=generator)
    rows.numpy().tofile(tmp_path / "rows")
    monkeypatch.setattr(knn, "BANK", 17)
    found = [knn.nearest(bank, rows[:9], 20) for bank in (rows, RowFile(tmp_path / "rows", (101, 6)))]
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def test_a_further_k_is_read_beside_the_two_and_refused_beyond_the_bank():
    rows, labels = torch.eye(3).repeat(70, 1), torch.arange(3).repeat(70)
    train, val = features_of(rows, labels), features_of(torch.eye(3), torch.arange(3))
    assert knn.knn_accuracy(train, val, 3, CPU, 10)["top1 k=10 T=0.07"] == 100
    with pytest.raises(UserError, match="k=211 neighbours are more than the 210 training images"):
        knn.check_neighbours(211, 210)


def test_a_cut_between_cosines_that_float32_cannot_tell_apart_is_made_in_float64():
    """600 rows close together: their cosines differ by less than float32 resolves, again and again."""
    generator = torch.Generator().manual_seed(6)
    rows = (torch.ones(64) + 0.01 * torch.randn(700, 64, generator=generator)).float()
    train, val = features_of(rows[:600], torch.arange(600) % 3), features_of(rows[600:], torch.arange(100) % 3)
    unit = torch.nn.functional.normalize(rows.double(), dim=1)
    expected = (unit[600:] @ unit[:600].T).topk(50).indices
    plain = knn.nearest(train.rows, val.rows, 50)[1]
    _, found = knn.neighbours_of(train, val, [20, 50], CPU)
    for cut in (20, 50):
        right = expected[:, :cut].sort(1).values
        assert torch.equal(found[:, :cut].sort(1).values, right)
    assert not torch.equal(plain.sort(1).values, right)
