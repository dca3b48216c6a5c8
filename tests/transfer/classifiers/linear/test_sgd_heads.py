"""Linear heads trained together are those that torch trains alone; and which setting wins the race, at what cost."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from pretrain.optim.optimisers.lars import LARS
from pretrain.runtime.errors import UserError
from transfer.classifiers.accuracy import top1_top5
from transfer.classifiers.linear import logistic_regression, racing_heads, sgd_heads
from transfer.classifiers.linear.head_options import Head, check_head
from transfer.classifiers.linear.sgd_heads import Heads, Setting
from transfer.evaluate import choose
from transfer.features.rows import Features, RowFile

CPU = torch.device("cpu")
CLASSES, WIDTH = 4, 6


def drawn(count=64, seed=0):
    """Rows (count, WIDTH) of overlapping classes, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    centres = torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(9))
    return centres[labels] + torch.randn(count, WIDTH, generator=generator), labels


def features_of(rows, labels):
    return Features(rows, labels, tuple(map(str, range(len(rows)))), (), 0.0)


def alone(options, setting, rows, labels, steps):
    """One classifier trained by autograd and an optimiser of its own."""
    layer = nn.Linear(WIDTH, CLASSES)
    first = Heads(options, [setting], CLASSES, WIDTH, 0)
    with torch.no_grad():
        layer.weight.copy_(first.weight[0]), layer.bias.zero_()
    if options.optimiser == "lars":
        optimizer = LARS([{"params": layer.parameters()}], setting.lr, options.momentum, setting.weight_decay)
    else:
        optimizer = torch.optim.SGD(
            layer.parameters(),
            setting.lr,
            options.momentum,
            weight_decay=setting.weight_decay,
            nesterov=options.nesterov,
        )
    for factor in steps:
        optimizer.param_groups[0]["lr"] = setting.lr * factor
        optimizer.zero_grad()
        functional.cross_entropy(layer(rows), labels).backward()
        optimizer.step()
    return layer


@pytest.mark.parametrize(
    "options", [Head(), Head(nesterov=True), Head(optimiser="lars")], ids=["sgd", "nesterov", "lars"]
)
def test_heads_trained_together_are_those_trained_alone(options):
    rows, labels = drawn()
    several = [Setting(0.1, 0.0), Setting(1.0, 1e-2), Setting(0.3, 0.1)]
    together, steps = Heads(options, several, CLASSES, WIDTH, 0), [1.0, 0.7, 0.4, 0.1]
    losses = [together.step(rows, labels, factor) for factor in steps]
    assert losses[0].tolist() == pytest.approx([losses[0][0].item()] * 3) and (losses[3] < losses[0]).all()
    for place, setting in enumerate(several):
        expected = alone(options, setting, rows, labels, steps)
        torch.testing.assert_close(together.weight[place], expected.weight.data, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(together.bias[place], expected.bias.data, rtol=1e-5, atol=1e-6)
    scores = together.scores(rows)[:, 1]
    torch.testing.assert_close(scores, alone(options, several[1], rows, labels, steps)(rows), rtol=1e-4, atol=1e-5)


def test_lrs_are_scaled_to_the_batch_and_the_scaling_is_said():
    options = Head(lrs=[0.1], weight_decays=[0.0], reference_batch=256, batch_size=4096)
    assert sgd_heads.settings(options, 4096) == [Setting(pytest.approx(1.6), 0.0)]
    assert "lr 1.6 (0.1) at batch 4096 (at 256)" in sgd_heads.scaling_in_words(options, 4096)


@pytest.mark.parametrize(("rivals", "steps"), [(12, 6000), (2, 1000), (7, 5000), (1, 10)])
def test_rounds_of_a_race_cost_less_than_half_of_a_single_setting(rivals, steps):
    left, extra = rivals, 0
    for length in racing_heads.rounds(rivals, steps):
        extra += (left - 1) * length
        left = -(-left // 2)
    assert left == 1 and extra <= racing_heads.EXTRA * steps


def test_within_a_standard_error_of_the_best_the_stronger_decay_goes_first():
    found = [(Setting(0.1, 0.0), 51.0), (Setting(0.1, 0.1), 50.0), (Setting(0.3, 0.1), 50.5), (Setting(0.1, 1.0), 20.0)]
    assert racing_heads.ranking(found, 400) == [2, 1, 0, 3]  # the error is 2.5 points
    assert racing_heads.ranking(found, 40000) == [0, 2, 1, 3]  # and here a quarter of one


def race_and_score(train, val, *given):
    """Top-1 of val's rows by the head that wins on train, and what was found."""
    head, found = racing_heads.race_to_head(train, *given)
    return top1_top5(head.scores(val.rows), val.labels), found


def test_the_race_finds_a_setting_that_trains_and_equals_training_it_alone(capsys):
    train, val = (features_of(*drawn(400, seed)) for seed in (1, 2))
    options = Head(lrs=[1e-7, 0.05, 1e4], weight_decays=[1e-4], epochs=20, batch_size=50)
    metrics, found = race_and_score(train, val, CLASSES, options, 0.2, 0, CPU)
    exact, _ = logistic_regression.fit_and_score(train, val, CLASSES, CPU, 0.2, 0)
    assert found["lr_at_reference_batch"] == pytest.approx(0.05) and found["lr_used"] == pytest.approx(0.05 * 50 / 256)
    assert len(found["held_out_top1"]) == 3
    assert metrics["top1"] == pytest.approx(exact["top1"], abs=3)
    assert "3 settings" in capsys.readouterr().out


def test_val_chooses_nothing_in_a_race():
    train, (rows, labels) = features_of(*drawn(200, 1)), drawn(100, 2)
    options = Head(epochs=5, batch_size=20)
    found = [
        race_and_score(train, features_of(rows, given), CLASSES, options, 0.2, 0, CPU)[1]
        for given in (labels, (labels + 1) % CLASSES)
    ]
    assert found[0] == found[1]


def test_a_race_on_rows_from_disk_is_the_same(tmp_path):
    rows, labels = drawn(120, 1)
    rows.numpy().tofile(tmp_path / "rows")
    val, options = features_of(*drawn(50, 2)), Head(epochs=4, batch_size=16)
    found = [
        race_and_score(features_of(bank, labels), val, CLASSES, options, 0.2, 0, CPU)
        for bank in (rows, RowFile(tmp_path / "rows", tuple(rows.shape)))
    ]
    assert found[0] == found[1]


def test_divergence_of_every_setting_is_told():
    train = features_of(*drawn(80, 1))
    options = Head(lrs=[1e30], weight_decays=[0.1], epochs=5)
    with pytest.raises(UserError, match="diverged: lower head.lrs"):
        race_and_score(train, train, CLASSES, options, 0.2, 0, CPU)


@pytest.mark.parametrize(
    "wrong", ["optimiser=adam", "schedule=sin", "epochs=0", "lrs=[]", "lrs=[0.0]", "weight_decays=[-1.0]"]
)
def test_impossible_options_are_named(wrong):
    with pytest.raises(UserError, match=f"head.{wrong.partition('=')[0]}"):
        choose("linear", None, ["probe=fast", f"head.{wrong}"])


@pytest.mark.parametrize("milestones", [[60, 80], [0, 3], [4, 2], [2, 5]])
def test_milestones_that_the_epochs_do_not_hold_are_refused(milestones):
    with pytest.raises(UserError, match=r"head\.milestones=.* must rise between 0 and head\.epochs=5"):
        check_head(Head(schedule="step", milestones=milestones, epochs=5))
    check_head(Head(schedule="step", milestones=[2, 4], epochs=5))


def test_a_batch_without_a_readable_image_leaves_the_heads_finite():
    trained = Heads(Head(), sgd_heads.settings(Head(), 8), CLASSES, WIDTH, 0)
    rows, labels = drawn(8)
    trained.step(rows, labels, 1.0)
    trained.step(rows[:0], labels[:0], 1.0)
    assert trained.weight.isfinite().all() and trained.bias.isfinite().all()


def test_top1_by_parts_is_that_of_all_rows_at_once():
    rows, labels = drawn(50)
    trained = Heads(
        Head(lrs=[0.1, 3.0], weight_decays=[0.0]), [Setting(0.1, 0.0), Setting(3.0, 0.0)], CLASSES, WIDTH, 0
    )
    trained.step(rows, labels, 1.0)
    parts = ((trained.scores(part), of_part) for part, of_part in zip(rows.split(7), labels.split(7), strict=True))
    right = (trained.scores(rows).argmax(2) == labels[:, None]).double().mean(0) * 100
    assert sgd_heads.top1_of_each(parts) == pytest.approx(right.tolist(), abs=1e-12)
