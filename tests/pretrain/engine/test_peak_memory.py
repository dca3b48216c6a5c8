"""Memory of a step from its shapes: what autograd records on a GPU that is not there, and what follows from it."""

from __future__ import annotations

import pytest
import torch

from helpers.fake_gpu import fake_gpu, fake_ranks
from helpers.tiny_runs import RESNET18, TINY
from pretrain.config import Config, dump, load
from pretrain.engine.learner import build
from pretrain.engine.peak_memory import GIB, StepMemory, _kept, fewest_parts, with_parts
from pretrain.runtime.errors import UserError

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
LOCAL = ["views.local_count=3", "views.local_size=24"]
WIDE = ["model.arch=resnet50", "model.projector_width=2048", "views.size=224", "run.precision=bf16"]


def configured(*words):
    return load(Config, None, [*TINY, "run_dir=r", "data.root=d", *words])


def recorded(cfg, images):
    """Bytes that autograd keeps of the online pass on a fake GPU, autocast's copies of weights among them."""
    learner = build(cfg, GPU)
    own = {tensor.untyped_storage()._cdata for tensor in learner.model.state_dict().values()}
    seen = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            seen[storage._cdata] = storage
        return tensor

    sizes = [(2, cfg.views.size), *([(cfg.views.local_count, cfg.views.local_size)] if cfg.views.local_count else [])]
    views = [torch.empty(count, images, 3, side, side, device=GPU) for count, side in sizes]
    with (
        torch.autocast("cuda", learner.dtype, enabled=learner.dtype.itemsize < 4),
        torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
    ):
        rows = learner.branch(views)
    assert rows.requires_grad
    return sum(storage.nbytes() for storage in seen.values())


@pytest.mark.parametrize(
    ("ranks", "words"), [(1, ["run.precision=bf16"]), (1, LOCAL), (8, [*LOCAL, "run.precision=bf16"])], ids=str
)
def test_what_autograd_keeps_is_what_it_records_on_a_gpu(ranks, words):
    cfg = configured(*words, "views.size=64")
    with fake_ranks(ranks), fake_gpu():
        expected = recorded(cfg, 12)
    assert StepMemory(cfg).kept(12)[0] == pytest.approx(expected, rel=0.02)


def test_what_is_kept_grows_with_the_images_and_is_counted_from_two_passes():
    memory = StepMemory(configured(*LOCAL))
    kept, largest = memory.kept(7)
    assert (kept, largest) == _kept(memory.model, memory._views(7), torch.float32)


def test_the_wide_recipe_keeps_what_was_seen_for_it():
    """41 MiB for a view of 224 px: twice the 11.1 million numbers that its convolutions put out, of two bytes each."""
    memory = StepMemory(configured(*WIDE))
    view = (memory.kept(129)[0] - memory.kept(128)[0]) / 2
    assert view == pytest.approx(2 * 2 * 11.11e6, rel=0.03)


def test_a_part_of_the_batch_keeps_its_share_and_holds_the_same():
    memory = StepMemory(configured(*WIDE, "optim.optimiser=lars"))
    whole, half = memory.peak(64, 1), memory.peak(64, 2)
    assert (half.held, half.inputs) == (whole.held, whole.inputs)
    assert half.kept == pytest.approx(whole.kept / 2, rel=0.02) and whole.total == sum(whole)
    for room in (whole.total, whole.total - 1, half.total - 1):
        expected = next(count for count in (1, 2, 4, 8, 16, 32) if memory.peak(64, count).total <= room)
        assert fewest_parts(memory, 64, room) == expected
    assert fewest_parts(memory, 64, whole.held) is None


def test_auto_takes_the_fewest_parts_that_fit_into_what_the_gpu_has_left():
    cfg = configured("views.size=64", "optim.batch_size=256", "optim.accumulate=auto")
    memory = StepMemory(cfg)
    for parts in (1, 4):
        with fake_gpu(memory.peak(256, parts).total):
            chosen = with_parts(cfg, GPU)
        assert chosen.optim.accumulate == parts and f"accumulate: {parts}\n" in dump(chosen)
    assert with_parts(cfg, CPU).optim.accumulate == 1


def test_a_step_that_cannot_fit_is_refused_with_what_would_fit():
    words = [RESNET18, "views.size=64", "optim.batch_size=1024", "run.compile=false"]
    cfg = configured(*words)
    with fake_gpu(3 * GIB), pytest.raises(UserError) as refused:
        with_parts(cfg, GPU)
    told = str(refused.value)
    assert "it takes at least" in told and "1024 images, and 3.0 GiB are free" in told
    fewest = fewest_parts(StepMemory(cfg), 1024, 3 * GIB)
    assert fewest > 1 and f"set optim.accumulate={fewest}, or auto" in told
    with fake_gpu(3 * GIB):
        assert with_parts(configured(*words, f"optim.accumulate={fewest}"), GPU)
    with fake_gpu(GIB // 8), pytest.raises(UserError, match="take more processes, a lower optim.batch_size, or"):
        with_parts(configured(*words, "optim.accumulate=auto"), GPU)


def test_accumulate_is_a_number_or_the_word_auto():
    assert configured("optim.accumulate=auto").optim.accumulate == "auto"
    assert configured("optim.accumulate=4").optim.accumulate == 4
    for wrong in ("often", "null", "1.5"):
        with pytest.raises(UserError, match=f"optim.accumulate' has the wrong type: '{wrong}' is no whole number"):
            configured(f"optim.accumulate={wrong}")
