"""Every row of Tables 2 and 6 against autograd of the paper's loss, and against what the official code gave."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from helpers.oracles import ORACLES
from helpers.repository import ROOT
from pretrain.config import BRANCHES
from pretrain.methods import ROWS, TABLE_2, LossForm, balance_at, build, find
from pretrain.methods.row import OWN
from pretrain.objective import objective
from pretrain.runtime.errors import UserError

if missing := ROWS.keys() - ORACLES.keys():
    raise AssertionError(f"rows without an oracle in tests/helpers/oracles/: {', '.join(sorted(missing))}")

GOLDEN = ROOT / "tests" / "data" / "official_losses.npz"  # how it was made: tests/data/README.md
# what is given to every row that has the option; an option that is not here keeps the row's own value
SETTINGS = {"balance": 3.0, "temperature": 0.3, "rho": 0.7, "eps": 0.2, "variance": 0.8, "gamma": 1.1}
OFFICIAL = {  # the official code's name and settings of each loss
    "unigrad": ("loss_unigrad", {"balance": 100.0, "rho": 0.99}),
    "simclr": ("loss_simclr_grad_mm", {"temperature": 0.2}),
    "directpred": ("loss_byol_directpred_grad", {"rho": 0.99, "eps": 0.3}),
    "barlow_twins_l2": ("loss_barlow_twins_grad_mm", {"balance": 50.0}),
}


def rows(name, shape, seed):
    """Random float64 rows under the normalisation of a row of Table 2."""
    free = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    kind = build(name, width=shape[-1]).normalisation
    if kind == "bn":
        return (free - free.mean(1, keepdim=True)) / free.std(1, correction=0, keepdim=True)
    return normalize(free, dim=-1) if kind == "l2" else free


def form_and_settings(name, n, width):
    row = find(name)
    given = SETTINGS | {"queue_size": 4 * n, "hidden": 2 * width}
    options = {key: value for key, value in given.items() if key in row.keywords()}
    torch.manual_seed(0)
    form = build(name, width=width, **options).double()
    return form, SimpleNamespace(**vars(row.defaults()) | options, form=form)


def gradient(form, online, targets, **others):
    online = online.clone().requires_grad_()
    sum(objective(form, online, targets, **others).values()).backward()
    return online.grad


@pytest.mark.parametrize("draw", range(3))
@pytest.mark.parametrize("name", ROWS)
def test_gradient_is_autograd_of_the_papers_loss(name, draw):
    size = random.Random(f"{name} {draw}")
    n, width, steps = size.randint(3, 7), size.randint(2, 9), size.randint(1, 4)
    form, settings = form_and_settings(name, n, width)
    history = []
    for step in range(steps):
        online = rows(name, (2, n, width), 10 * step)
        # Methods whose target is not detached or is the learning branch get their own rows, as in a run.
        history.append(online if ROWS[name].targets == OWN else rows(name, (2, n, width), 10 * step + 1))
        own = {"negative_targets": online} if ROWS[name].targets[1] == "stop_gradient" else {}
        ours = gradient(form, online, history[-1], **own)
    free = online.clone().requires_grad_()
    ORACLES[name](free, history[-1], history, settings).backward()
    torch.testing.assert_close(ours, free.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", OFFICIAL)
def test_three_steps_equal_the_official_code(name):
    loss, options = OFFICIAL[name]
    golden = {key: torch.from_numpy(np.asarray(value)) for key, value in np.load(GOLDEN).items()}
    form = build(name, **options)
    for step in range(3):
        seen = {key: golden[f"{loss}/{step}/{key}"] for key in ("z1", "z2", "z1m", "z2m", "g1", "g2", "loss")}
        online = torch.stack([seen["z1"], seen["z2"]]).requires_grad_()
        terms = objective(form, online, torch.stack([seen["z1m"], seen["z2m"]]))
        sum(terms.values()).backward()
        torch.testing.assert_close(online.grad, torch.stack([seen["g1"], seen["g2"]]), rtol=0, atol=1e-10)
        torch.testing.assert_close(sum(terms.values()).detach(), seen["loss"], rtol=0, atol=1e-10)
        if f"{loss}/{step}/F" in golden:
            torch.testing.assert_close(form.correlation.corr, golden[f"{loss}/{step}/F"], rtol=0, atol=1e-10)


def test_table_2_is_the_papers():
    papers = {name: row for name, row in TABLE_2.items() if row.letter <= "j"}
    letters = [row.letter for name, row in papers.items() if name != "simsiam"]
    assert letters == list("abcdefghij") and papers["simsiam"].letter == "c"
    balances = {row.letter: row.balance for row in papers.values() if row.balance is not None}
    assert balances == {"a": 1, "b": 1, "e": 100, "f": 5e-3, "g": 5e-3, "h": 50, "i": 4e-5, "j": 25}


@pytest.mark.parametrize("name", ["unigrad", "barlow_twins_identity", "barlow_twins_l2", "vicreg_l2"])
def test_balance_carried_to_another_width_keeps_the_ratio_of_the_gradients(name):
    """On rows that fill all directions alike, whatever their number, so that only the width differs."""
    ratios = []
    for width in (8, 64):
        seeded = torch.Generator().manual_seed(0)
        basis = torch.linalg.qr(torch.randn(width, width, generator=seeded, dtype=torch.float64)).Q
        form = build(name, balance=balance_at(name, width))
        samples = (basis if form.normalisation == "l2" else width**0.5 * basis).expand(2, -1, -1)
        form.observe(samples)
        negative = form.balance * form.negative(samples[0], samples[1], 0)
        ratios.append((negative.norm() / form.positive(samples[0], samples[1]).norm()).item())
    assert ratios[0] == pytest.approx(ratios[1], rel=1e-9)


@pytest.mark.parametrize("name", [name for name in ROWS if not isinstance(build(name), LossForm)])
def test_each_gradient_has_the_target_branch_that_is_asked_for(name):
    online, first, second = (rows(name, (2, 4, 5), seed) for seed in (0, 1, 2))

    def terms(targets, negative_targets):
        form, _ = form_and_settings(name, 4, 5)
        free = online.clone().requires_grad_()
        values = objective(form, free, targets, negative_targets=negative_targets)
        return {key: torch.autograd.grad(value, free, retain_graph=True)[0] for key, value in values.items()}

    mixed, attracting, repelling = terms(first, second), terms(first, first), terms(second, second)
    if name not in ("directpred", "directpred_middle_term"):  # W, of F, is in both of its gradients
        torch.testing.assert_close(mixed["positive"], attracting["positive"], rtol=0, atol=0)
        torch.testing.assert_close(mixed["negative"], repelling["negative"], rtol=0, atol=0)
    assert not torch.allclose(mixed["positive"], repelling["positive"])
    assert not torch.allclose(mixed["negative"], attracting["negative"])


def test_stop_gradient_targets_are_the_learning_rows_as_constants():
    online = rows("simclr", (2, 5, 6), 0)
    form, settings = form_and_settings("simclr", 5, 6)
    free = online.clone().requires_grad_()
    ORACLES["simclr"](free, online, [online], settings).backward()
    torch.testing.assert_close(gradient(form, online, online), free.grad, rtol=0, atol=1e-12)


def test_rho_zero_is_the_correlation_of_the_batch():
    """Row e with ρ = 0 has row j's negative gradient, over the samples of both views."""
    online, targets = rows("unigrad", (2, 5, 6), 0), rows("unigrad", (2, 5, 6), 1)
    form = build("unigrad", rho=0.0)
    form.observe(rows("unigrad", (2, 5, 6), 2))
    form.observe(targets)
    samples = targets.flatten(0, 1)
    expected = sum(torch.outer(online[0] @ v, v) for v in samples) / len(samples)
    torch.testing.assert_close(form.negative(online[0], targets[1], 0), expected)


def test_the_queue_holds_the_newest_samples_and_no_empty_place():
    form = build("moco", queue_size=12)
    seen = [rows("moco", (2, 3, 4), seed) for seed in range(4)]
    for step, samples in enumerate(seen):
        form.observe(samples)
        held = form.samples.rows[~form.samples.excluded]
        newest = torch.cat([batch.flatten(0, 1) for batch in seen[: step + 1]])[-12:]
        assert sorted(held.tolist()) == sorted(newest.tolist())


def test_a_predictor_is_kept_between_its_updates_and_counted_on_resume():
    form, whole = build("directpred", predictor_every=3), build("directpred", predictor_every=3)
    kept = []
    for step in range(5):
        samples = rows("directpred", (2, 4, 5), step)
        whole.observe(samples)
        form.observe(samples)
        kept.append(form.through.clone())
        resumed = build("directpred", predictor_every=3)
        resumed.load_state_dict(form.state_dict())
        form = resumed
    assert torch.equal(kept[0], kept[1]) and torch.equal(kept[1], kept[2]) and torch.equal(kept[3], kept[4])
    assert not torch.equal(kept[2], kept[3])
    torch.testing.assert_close(form.through, whole.through, rtol=0, atol=0)


@pytest.mark.parametrize("name", ROWS)
def test_memory_is_saved_and_loaded_into_a_form_that_has_seen_nothing(name):
    form, _ = form_and_settings(name, 4, 6)
    fresh, _ = form_and_settings(name, 4, 6)
    online, targets, more = (rows(name, (2, 4, 6), seed) for seed in range(3))
    gradient(form, online, targets)
    fresh.load_state_dict(form.state_dict())
    torch.testing.assert_close(gradient(form, online, more), gradient(fresh, online, more), rtol=0, atol=0)


def test_target_branches_have_two_names():
    assert {branch for row in ROWS.values() for branch in row.targets} == set(BRANCHES)


BAD = {
    "unknown row": (lambda: build("unigrat"), r"method\.name=unigrat .*did you mean unigrad.*moco, simclr"),
    "an option of another row": (lambda: build("unigrad", temperature=0.2), r"temperature is not an option of unigrad"),
    "a balance that is not free": (lambda: build("directpred", balance=1.0), r"balance is not an option of directpred"),
    "rho of one": (lambda: build("unigrad", rho=1.0), r"rho=1\.0 is out of range"),
    "negative rho": (lambda: build("directpred", rho=-0.1), r"rho=-0\.1 is out of range"),
    "no eps": (lambda: build("directpred", eps=0.0), r"eps=0\.0 is out of range"),
    "negative temperature": (lambda: build("simclr", temperature=-1.0), r"temperature=-1\.0 is out of range"),
    "no queue": (lambda: build("moco", queue_size=0), r"queue_size=0 is out of range"),
    "a queue that batches do not fill": (
        lambda: build("moco", queue_size=20).observe(rows("moco", (2, 3, 4), 0)),
        r"queue_size=20 is not divisible by the 6 samples",
    ),
    "a predictor of another width": (
        lambda: build("byol").observe(rows("moco", (2, 3, 4), 0)),
        r"rows have 4 channels, but the predictor was built for 2048",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_told_in_one_sentence(case):
    wrong, told = BAD[case]
    with pytest.raises(UserError, match=told):
        wrong()
