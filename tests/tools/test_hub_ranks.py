"""A name on a hub of models that two processes of one run want at the same time, on two gloo ranks, by the tools."""

from __future__ import annotations

import hashlib
import json
import re

import pytest
from safetensors.torch import save

pytest.importorskip("huggingface_hub")

from helpers import hub as hubs
from helpers import tool_words, two_ranks
from helpers.detection_samples import random_trunk
from helpers.tool_words import TOOLS, words


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tool_words.furnish(tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="module")
def trunks():
    """The bytes of two trunks."""
    return [save(random_trunk("resnet18", seed).state_dict()) for seed in range(2)]


@pytest.fixture
def hub():
    with hubs.serving() as running:
        yield running


RECORDS = {  # in what each tool leaves: the file, the name and the SHA-256 of its weights
    "pretrain": ("run/init.json", "file", "sha256"),
    "evaluate": ("knn.json", "checkpoint", "checkpoint_sha256"),
    "embed": ("rows.json", "checkpoint", "checkpoint_sha256"),
    "train_detection": ("detector/beginning.json", "weights", "sha256"),
}


def both(tool, place, out, *environments, name="hf:me/net"):
    return two_ranks.tools(*[(words(tool, place, out, name), one) for one in environments])


@pytest.mark.parametrize("tool", TOOLS)
def test_two_ranks_with_one_cache_download_once_and_begin_from_the_same_commit(hub, place, trunks, tmp_path, tool):
    commit = hub.push("me/net", {"model.safetensors": trunks[0], "config.json": b'{"architecture": "resnet18"}'})
    told = both(tool, place, tmp_path, *2 * [hubs.environment(hub, tmp_path / "kept")])
    assert [one.returncode for one in told] == [0, 0], told[0].stderr + told[1].stderr
    asked = [path.rpartition("/")[2] for method, path in hub.asked if method == "GET" and "/resolve/" in path]
    assert sorted(asked) == ["config.json", "model.safetensors"]
    sha256, (file, name, digest) = hashlib.sha256(trunks[0]).hexdigest(), RECORDS[tool]
    record = json.loads((tmp_path / file).read_text())
    assert (record[name], record[digest]) == (f"hf:me/net@{commit}/model.safetensors", sha256)
    line = f"hf:me/net: revision {commit}, model.safetensors, sha256 {sha256}\n"
    assert [one.stdout.count(line) for one in told] == [1, 0]


@pytest.mark.parametrize("tool", TOOLS)
def test_a_name_that_is_not_there_ends_both_ranks_with_one_sentence_and_exit_code_2(hub, place, tmp_path, tool):
    for one in both(tool, place, tmp_path, *2 * [hubs.environment(hub, tmp_path / "kept")], name="hf:me/none"):
        assert one.returncode == 2, one.stderr
        assert "Traceback" not in one.stderr
        (sentence,) = re.findall(r"^error: .*", one.stderr, re.MULTILINE)
        assert "hf:me/none does not exist on http://127.0.0.1" in sentence


@pytest.mark.parametrize("tool", ["pretrain", "evaluate", "embed"])  # of a detector rank 0 alone asks what a name means
def test_a_name_that_means_other_weights_on_each_rank_is_refused_by_both(hub, place, trunks, tmp_path, tool):
    with hubs.serving() as other:
        for one, trunk in zip((hub, other), trunks, strict=True):
            one.push("me/net", {"model.safetensors": trunk})
        own = [hubs.environment(one, tmp_path / str(rank)) for rank, one in enumerate((hub, other))]
        told = both(tool, place, tmp_path, *own)
    seen = ", ".join(sorted(hashlib.sha256(trunk).hexdigest() for trunk in trunks))
    for one in told:
        assert one.returncode == 2, one.stdout + one.stderr
        assert f"is not the same file for all ranks (SHA-256 {seen}): give a file" in one.stderr
        assert "Traceback" not in one.stderr
    assert not (tmp_path / RECORDS[tool][0]).exists()
