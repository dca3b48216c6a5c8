"""Weights on a hub of models: which file at which commit is meant, kept and told, and what is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

pytest.importorskip("huggingface_hub")

from helpers import hub as hubs
from pretrain.runtime.errors import UserError
from pretrain.weights.hub import client, fetch
from pretrain.weights.hub.fetch import fetched
from pretrain.weights.hub.moved import Record, check_same, pinned
from pretrain.weights.hub.names import HubName, is_hub, kept_name, parse, recorded, shown

A, B = (save({"x": torch.full((3,), value)}) for value in (1.0, 2.0))
NOBODY = "0" * 40


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr(client, "FIRST", ())
    monkeypatch.setattr(fetch.patiently, "__defaults__", ((0.01,),))
    with hubs.serving() as running:
        hubs.talk_to(running, tmp_path / "cache", monkeypatch)
        yield running


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("hf:me/net", HubName("me/net")),
        ("hf://me/net", HubName("me/net")),
        ("hf:me/net@v1.0", HubName("me/net", "v1.0")),
        ("hf:me/net/sub/x.pth", HubName("me/net", "", "sub/x.pth")),
        ("hf:me/net@refs/pr/1/x.pth", HubName("me/net", "refs/pr/1", "x.pth")),
        ("hf:me/net@a%2Fb/x.pth", HubName("me/net", "a/b", "x.pth")),
    ],
)
def test_a_name_has_the_parts_that_the_hubs_own_addresses_have(text, meant):
    assert parse(text) == meant and parse(Path(text)) == meant and parse(str(meant)) == meant


@pytest.mark.parametrize("text", ["hf:", "hf:net", "hf:me/net@", "hf:me/../x", "hf:me/net/../x", "hf:me/n t", "hf:/me"])
def test_another_form_is_refused_with_the_right_one(text):
    with pytest.raises(UserError, match="is no name on the hub: write hf:USER/NAME"):
        parse(text)


def test_a_path_is_no_name_and_stays_a_path():
    assert not is_hub("./hf:me/net") and fetched(Path("a/b.pth")) == Path("a/b.pth")


def test_a_name_is_the_file_at_the_commit_of_the_moment_and_both_are_told(hub, capsys):
    commit = hub.push("me/net", {"model.safetensors": A, "config.json": b'{"architecture": "x"}', "README.md": b"-"})
    path = fetched(Path("hf:me/net"))
    assert (
        path.read_bytes() == A and path.with_name("config.json").is_file() and not path.with_name("README.md").exists()
    )
    assert capsys.readouterr().out == f"hf:me/net: revision {commit}, model.safetensors, sha256 {sha256(A)}\n"
    assert recorded(path) == f"hf:me/net@{commit}/model.safetensors" and kept_name(path).pinned
    assert shown(recorded(path)) == f"hf:me/net@{commit[:8]}"
    assert recorded(Path("/tmp/x.pth")) == "/tmp/x.pth"


def test_the_weights_come_last_so_that_who_finds_them_finds_what_stands_beside(hub):
    hub.push("me/net", {"model.safetensors": A, "config.json": b"{}", "preprocessor_config.json": b"[]"})
    fetched("hf:me/net")
    names = [path.rpartition("/")[2] for method, path in hub.asked if method == "GET" and "/resolve/" in path]
    assert names[-1] == "model.safetensors" and sorted(names[:-1]) == ["config.json", "preprocessor_config.json"]


def test_a_push_between_the_question_and_the_download_gives_all_of_the_later_commit(hub):
    class Pushing(list):
        def append(self, one):
            super().append(one)
            if one[1].endswith("/resolve/main/model.safetensors") and len(hub.repos["me/net"]) == 1:
                hub.push("me/net", {"model.safetensors": B, "config.json": b'{"b": 1}'})

    hub.push("me/net", {"model.safetensors": A, "config.json": b'{"a": 1}'})
    hub.asked = Pushing()
    path = fetched("hf:me/net")
    assert path.read_bytes() == B and path.with_name("config.json").read_bytes() == b'{"b": 1}'


def test_a_commit_keeps_its_weights_and_a_branch_follows(hub):
    first = hub.push("me/net", {"model.safetensors": A})
    second = hub.push("me/net", {"model.safetensors": B})
    assert fetched("hf:me/net").read_bytes() == B
    assert fetched(f"hf:me/net@{first}").read_bytes() == A
    assert recorded(fetched("hf:me/net@main")).startswith(f"hf:me/net@{second}/")


def test_what_was_fetched_is_found_without_the_hub(hub, capsys):
    commit = hub.push("me/net", {"model.safetensors": A})
    path = fetched("hf:me/net")
    asked = len(hub.asked)
    assert fetched(f"hf:me/net@{commit}") == path and len(hub.asked) == asked
    hub.faults = 100
    capsys.readouterr()
    assert fetched("hf:me/net") == path
    assert "cannot be reached for hf:me/net (status 503); what was fetched last is taken\n" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"cannot be reached for hf:me/other \(status 503\)"):
        fetched("hf:me/other")


def test_a_hub_that_is_busy_once_is_asked_again(hub):
    hub.push("me/net", {"model.safetensors": A})
    hub.faults = 1
    assert fetched("hf:me/net").read_bytes() == A


def test_no_network_is_one_sentence(hub, monkeypatch):
    hubs.talk_to(type("Nobody", (), {"url": "http://127.0.0.1:9"}), Path(hub.url), monkeypatch)
    with pytest.raises(UserError, match=r"http://127.0.0.1:9 cannot be reached for hf:me/net \(Connect"):
        fetched("hf:me/net")


def test_a_hub_that_must_not_be_asked_gives_what_is_kept(hub, monkeypatch):
    hub.push("me/net", {"model.safetensors": A})
    path, asked = fetched("hf:me/net"), len(hub.asked)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    hubs.forget_connections()
    assert fetched("hf:me/net") == path
    with pytest.raises(UserError, match="hf:me/other is not in the folder .* and HF_HUB_OFFLINE forbids"):
        fetched("hf:me/other")
    assert len(hub.asked) == asked


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("hf:me/none", "hf:me/none does not exist on http.*, or it is private and there is no token: correct the name"),
        ("hf:me/shut", "hf:me/shut does not exist on http.*, or it is private and there is no token"),
        ("hf:me/net@v9", "hf:me/net@v9: there is no such revision; name a branch, a tag or a commit"),
        (f"hf:me/net@{NOBODY}", "there is no such revision"),
        ("hf:me/net/x.pth", "hf:me/net/x.pth does not exist: hf:me/net holds a.pth, b.pth; correct"),
        ("hf:me/net", r"several files of weights \(a.pth, b.pth\): name one, as in hf:me/net/FILE"),
        ("hf:me/text", "hf:me/text holds no file of weights"),
        ("hf:me/a--b", "hf:me/a--b is no name that a hub can have"),
    ],
)
def test_what_is_not_there_is_one_sentence(hub, name, sentence):
    hub.push("me/net", {"a.pth": A, "b.pth": B})
    hub.push("me/shut", {"model.safetensors": A})
    hub.push("me/text", {"README.md": b"-"})
    hub.closed.add("me/shut")
    with pytest.raises(UserError, match=sentence):
        fetched(name)
    assert fetched("hf:me/net/b.pth").read_bytes() == B


def test_a_token_opens_what_is_private_and_a_wrong_one_is_said_to_be(hub, monkeypatch):
    hub.push("me/shut", {"model.safetensors": A})
    hub.closed.add("me/shut")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(UserError, match=r"refuses hf:me/shut, since the token is not accepted \(status 401\)"):
        fetched("hf:me/shut")
    monkeypatch.setenv("HF_TOKEN", hub.token)
    assert fetched("hf:me/shut").read_bytes() == A


def test_a_damaged_file_is_refused(hub):
    commit = hub.push("me/net", {"model.safetensors": A})
    path = fetched("hf:me/net")
    path.resolve().write_bytes(A[:-1] + b"!")
    for name in ("hf:me/net", f"hf:me/net@{commit}"):
        with pytest.raises(UserError, match="is damaged: its SHA-256 is"):
            fetched(name)


def test_a_run_that_goes_on_keeps_its_commit_and_tells_that_the_name_moved(hub, tmp_path, capsys):
    first = str(recorded_at(hub, A))
    record = Record(tmp_path / "init.json", first, sha256(A), goes_on=True)
    assert pinned("hf:me/net", record) == first and "moved" not in capsys.readouterr().out
    hub.push("me/net", {"README.md": b"another commit with the same weights"})
    assert pinned("hf:me/net", record) == first and "moved" not in capsys.readouterr().out
    now = hub.push("me/net", {"model.safetensors": B})
    assert pinned("hf:me/net", record) == first
    assert f"note: hf:me/net has moved to revision {now}; this run began from {first}" in capsys.readouterr().out
    hub.faults = 100
    assert pinned("hf:me/net", record) == first  # no network is no reason to stop


def test_a_start_without_checkpoints_is_refused_where_the_name_moved(hub, tmp_path):
    first = recorded_at(hub, A)
    record = Record(tmp_path / "init.json", first, sha256(A))
    assert pinned("hf:me/net", record) == first
    now = hub.push("me/net", {"model.safetensors": B})
    with pytest.raises(UserError, match=f"init.json is of {first}, and hf:me/net has moved since, to revision {now}"):
        pinned("hf:me/net", record)
    assert pinned(first, record) == first
    assert pinned(f"hf:me/net@{now}", record) == f"hf:me/net@{now}/model.safetensors"  # another one is asked for
    assert pinned("x.pth", record) == "x.pth"


def recorded_at(hub, data):
    hub.push("me/net", {"model.safetensors": data})
    return recorded(fetched("hf:me/net"))


def test_records_of_other_names_are_no_earlier_ones(hub, tmp_path):
    hub.push("me/other", {"model.safetensors": B})
    first = recorded_at(hub, A)
    check_same("hf:me/other", fetched("hf:me/other"), first, sha256(A), tmp_path)
    check_same("hf:me/net", fetched("hf:me/net"), "/tmp/trunk.pth", sha256(B), tmp_path)
