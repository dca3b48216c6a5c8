"""pretrain.data.compact: arrays that read like tuples, and that a forked worker reads without a copy of its own."""

from __future__ import annotations

import gc
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from pretrain.data.compact import Growing, Ints, Paths, Strings, taken
from pretrain.data.sources import open_source

NAMES = ["b.png", "é.png", "", "\udce9\udcff.jpg", "日本/a b.webp", "\ud83c.png"]
LISTING = [("/set/cat", NAMES[:3]), ("/set/dog", []), ("/set/cat/more", NAMES[3:])]


def of_all_kinds():
    paths = tuple(Path(folder, name) for folder, names in LISTING for name in names)
    numbers = (3, 0, -1, 2**31 - 1, 5, 5)
    return {"Ints": (Ints(numbers), numbers), "Strings": (Strings.of(NAMES), tuple(NAMES))} | {
        "Paths": (Paths.listed(LISTING), paths),
        "below": (Paths.below(Path("/set"), Strings.of(NAMES)), tuple(Path("/set", name) for name in NAMES)),
    }


@pytest.mark.parametrize("kind", of_all_kinds())
def test_arrays_read_like_the_tuple_that_they_stand_for(kind):
    ours, theirs = of_all_kinds()[kind]
    assert ours == theirs and theirs == ours and tuple(ours) == theirs and len(ours) == 6
    assert [ours[at] for at in (0, 5, -1)] == [theirs[0], theirs[5], theirs[-1]]
    assert ours[2:] == theirs[2:] and ours[:0] == () and ours[1:4][1] == theirs[2]
    assert taken(ours, [4, 1]) == (theirs[4], theirs[1]) and type(taken(ours, [4])) is type(ours)
    assert taken(ours, []) == () and taken(taken(ours, range(1, 6)), [0, 4]) == (theirs[1], theirs[5])
    assert pickle.loads(pickle.dumps(ours)) == ours
    assert ours != theirs[:5] and ours != (*theirs[:5], None)
    with pytest.raises(IndexError):
        ours[6]


def test_names_that_are_collected_folder_by_folder_may_be_asked_for_in_another_order():
    growing = Growing()
    one, none, two = growing.add(NAMES[:2]), growing.add([]), growing.add(NAMES[2:])
    assert growing.strings() == NAMES and growing.strings([one, none, two]) == NAMES
    assert growing.strings([two, one]) == [*NAMES[2:], *NAMES[:2]] and growing.strings([two]) == NAMES[2:]
    assert growing.strings([]) == [] and Growing().strings() == []


def test_labels_become_tensors_and_counts_as_tuples_do():
    labels = (2, 0, 2)
    assert torch.equal(torch.tensor(Ints(labels)), torch.tensor(labels))
    assert Ints(labels).count(2) == 2 and set(Ints(labels)) == {0, 2}
    assert all(type(label) is int for label in Ints(labels))


def test_a_source_keeps_arrays(tmp_path):
    for name in ("b/1.png", "a/2.png", "a/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    source = open_source(tmp_path)
    assert (source.paths, source.labels) == (
        (tmp_path / "a/1.png", tmp_path / "a/2.png", tmp_path / "b/1.png"),
        (0, 0, 1),
    )
    part = source.select([2, 0])
    assert (part.paths, part.labels) == ((tmp_path / "b/1.png", tmp_path / "a/1.png"), (1, 0))
    assert isinstance(part.paths, Paths) and isinstance(part.labels, Ints)


def dirtied(paths, reads):
    """MiB that a forked process copies for itself while it reads from `paths`."""
    ours, childs = os.pipe()
    if not (child := os.fork()):
        gc.disable()  # it would write to every container of the whole test run
        before = private()
        for index in reads:
            assert paths[int(index)].name
        os.write(childs, str(private() - before).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(childs)
    with open(ours) as told:
        return float(told.read())


def private():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:")) / 1024


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="this system does not say what is shared")
def test_a_forked_worker_shares_the_paths_that_it_reads():
    """As a control the same paths as objects, whose counts of references it writes to."""
    paths = Paths.listed(
        [(f"/set/class{label}", [f"{label}_{number}.JPEG" for number in range(2000)]) for label in range(100)]
    )
    reads = np.random.default_rng(0).permutation(len(paths))
    # what pathlib interns is the same for both; objects cost some 16 MiB more
    assert dirtied(paths, reads) + 8 < dirtied(tuple(paths), reads)
