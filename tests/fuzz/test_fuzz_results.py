"""Result files that were edited, cut or written by somebody else: read, or refused in one sentence."""

import json

import pytest
from hypothesis import strategies as st

from helpers.damaged import a_changed_tree, damaged_bytes
from helpers.escapes import ESCAPES
from helpers.fuzzing import outcome, search
from pretrain.runtime.errors import UserError
from transfer import results

PLAIN = results.Result(
    **{"task": "knn", "protocol": "k-NN", "dataset": "toy", "metrics": {"top1": 41.25}, "counts": {"train": 10}},
    **{"seed": 3, "init": "random", "arch": "resnet18", "checkpoint": "trunk.pth", "checkpoint_sha256": "0" * 64},
    **{"pretraining": {"step": 0}, "artefacts": {"images": ["a.png", "b/c.png"]}},
)


def test_a_damaged_result_file_is_the_result_or_one_sentence(tmp_path):
    path = results.save(tmp_path / "knn.json", PLAIN)
    whole = json.loads(path.read_text())

    def check(content):
        path.write_bytes(content)
        read = outcome(lambda: results.load(path), tmp_path)
        if not isinstance(read, UserError):
            results.save(path, read)
            assert results.load(path) == read

    trees = a_changed_tree(whole).map(lambda tree: json.dumps(tree).encode())
    search(check, 120, content=st.one_of(trees, damaged_bytes(json.dumps(whole).encode())))


@pytest.mark.parametrize("name", ESCAPES, ids=ascii)
def test_no_picture_is_read_outside_the_folder_of_its_result(tmp_path, name):
    PLAIN.artefacts["images"] = [name]
    path = results.save(tmp_path / "knn.json", PLAIN)
    with pytest.raises(UserError, match="lies outside"):
        results.load(path)
