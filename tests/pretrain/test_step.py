"""One step: mixed images, local views and a batch in parts have the gradient of the objective written out."""

from __future__ import annotations

import copy

import pytest
import torch

from helpers.tiny_runs import TINY, fixed_batch
from pretrain.augment.multicrop import Batch
from pretrain.augment.normalisation import normalise
from pretrain.config import Config, load
from pretrain.engine.learner import build
from pretrain.objective import objective
from pretrain.step import mixed, step


@pytest.fixture
def fixed_images():
    return fixed_batch()


VARIANTS = {
    "cutmix": ["mixing.cutmix_alpha=1"],
    "cutmix on own rows": ["mixing.cutmix_alpha=1", "method.positive_target=stop_gradient"],
    "local views": [],
    "cutmix and local views": ["mixing.cutmix_alpha=1"],
}


@pytest.mark.parametrize("name", ["unigrad", "simclr", "byol", "vicreg", "barlow_twins"])
def test_a_batch_in_parts_has_the_gradient_of_the_whole_objective(fixed_images, name):
    """Against rows computed part by part with a graph, one objective over all of them, and one backward."""
    torch.set_default_dtype(torch.float64)
    try:
        cfg = load(Config, None, [*TINY, "run_dir=r", "data.root=d", f"method.name={name}", "optim.accumulate=2"])
        ours, reference = build(cfg, torch.device("cpu")), build(cfg, torch.device("cpu"))
        ours.dtype = torch.float64
        step(ours, Batch((fixed_images,), None, []), 1, 2)
        views = normalise(fixed_images).double()
        reference.model.update_target(ours.target_momentum(0.5))
        targets = torch.cat([reference.model.target([part]) for part in views.chunk(2, 1)], 1)
        online = torch.cat([reference.model.online([part]) for part in views.chunk(2, 1)], 1)
        rows = {"momentum": targets, "stop_gradient": online.detach()}
        first, second = (rows[branch] for branch in reference.targets)
        sum(objective(reference.form, online, first, negative_targets=second).values()).backward()
    finally:
        torch.set_default_dtype(torch.float32)
    for module in ("model", "form"):
        theirs = dict(getattr(reference, module).named_parameters())
        for key, parameter in getattr(ours, module).named_parameters():
            if parameter.requires_grad:
                torch.testing.assert_close(parameter.grad, theirs[key].grad, rtol=1e-9, atol=1e-12, msg=key)
        for key, buffer in getattr(reference, module).named_buffers():
            if "num_batches" not in key:
                torch.testing.assert_close(getattr(ours, module).get_buffer(key), buffer, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_mixed_and_local_views_learn_from_clean_global_targets(fixed_images, variant):
    """One step against the objective written out: F of the clean global rows, shares as the matrix."""
    torch.set_default_dtype(torch.float64)
    try:
        cfg = load(Config, None, [*TINY, "run_dir=r", "data.root=d", *VARIANTS[variant]])
        ours, reference = build(cfg, torch.device("cpu")), build(cfg, torch.device("cpu"))
        ours.dtype = torch.float64
        images = [fixed_images]
        if "local" in variant:
            images.append(fixed_images[:, :, :, :16, :16].repeat(2, 1, 1, 1, 1)[:3])
        stepped = step(ours, Batch(tuple(images), None, []), 1, 2)
        views = [normalise(group).double() for group in images]
        seen, mixing = mixed(reference, views, 1)
        reference.model.update_target(ours.target_momentum(0.5))
        with torch.no_grad():
            own = "own rows" in variant
            clean = copy.deepcopy(reference.model)
            targets = clean.target(views[:1])
            positive = clean.online(views[:1]) if own else targets
        online = reference.model.online(seen)
        terms = objective(reference.form, online, positive, mixing=mixing, negative_targets=targets)
        sum(terms.values()).backward()
    finally:
        torch.set_default_dtype(torch.float32)
    assert stepped.online.shape == (2 + 3 * ("local" in variant), 8, 16)
    torch.testing.assert_close(ours.form.correlation.corr, reference.form.correlation.corr, rtol=0, atol=1e-12)
    rows = targets.flatten(0, 1)
    torch.testing.assert_close(ours.form.correlation.corr, rows.T @ rows / len(rows), rtol=0, atol=1e-12)
    theirs = dict(reference.model.online.named_parameters())
    for key, parameter in ours.model.online.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[key].grad, rtol=1e-9, atol=1e-12, msg=key)


@pytest.mark.gpu
@pytest.mark.parametrize("words", ["", "mixing.cutmix_alpha=1", "optim.accumulate=2 optim.optimiser=lars"])
def test_a_step_never_waits_for_the_gpu(fixed_images, words):
    """The first one may, for it looks at the norms of its rows."""
    device = torch.device("cuda")
    learner = build(
        load(Config, None, [*TINY, "run_dir=r", "data.root=d", "run.compile=false", *words.split()]), device
    )
    batch = Batch((fixed_images.pin_memory(),), None, [])
    step(learner, batch, 1, 3)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        stepped = step(learner, batch, 2, 3)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert stepped.values["positive"].isfinite()
