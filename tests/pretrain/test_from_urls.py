"""A run whose images come from a server: what it records holds no secret, and a server that fails costs no step."""

from __future__ import annotations

import re
import sys

import pytest

from helpers import stored
from helpers.tiny_runs import assert_same, configure, last_checkpoint, write_images
from helpers.web import serving
from pretrain.data.files import fetch
from pretrain.engine.loading import foreseen
from pretrain.runtime.errors import UserError
from pretrain.runtime.processes.signals import Wish
from pretrain.runtime.urls import MARK
from pretrain.train import train

pytest.importorskip("aiohttp")


@pytest.fixture(autouse=True)
def hasty(monkeypatch, tmp_path_factory):
    monkeypatch.setattr(fetch, "WAITS", (0.01,) * 2)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("caches")))


@pytest.mark.slow
def test_a_server_that_stops_answering_in_an_epoch_loses_no_step_and_no_record_holds_a_secret(
    tmp_path, monkeypatch, capsys
):
    (tmp_path / "images").mkdir()
    images = write_images(tmp_path / "images")
    short = ("optim.epochs=2", "run.checkpoint_every_epochs=2")
    train(configure(images, tmp_path / "whole", *short))
    with serving() as web:
        made = stored.tar(tmp_path / "all.tar", {path.name: path.read_bytes() for path in images.iterdir()})
        web.files["all.tar"], web.user, web.query = made.read_bytes(), "reader:pass/word", "sig=top/secret"
        url = web.url("all.tar", "reader:pass%2Fword", web.query)
        monkeypatch.setattr(sys, "argv", ["tools/pretrain.py", f"data.root={url}"])
        words = ("data.url_cache_gib=0", *short)
        web.fail("busy", after=2 + 8 * 2 + 4)  # the question for parts, the list, two batches and a half
        with pytest.raises(UserError, match="redacted.* has not answered at 3 tries.*goes on from it"):
            train(configure(url, tmp_path / "run", *words))
        assert (
            last_checkpoint(tmp_path / "run")["position"]["step"] == 1
        )  # of two, for the next one was the last that came
        web.faults = 0
        train(configure(url, tmp_path / "run", *words))
    for part in ("model", "form", "health", "optimizer"):
        assert_same(last_checkpoint(tmp_path / "whole")[part], last_checkpoint(tmp_path / "run")[part])
    held = [path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()]
    told = "".join(capsys.readouterr())
    hidden = re.compile(rf"{MARK}@127\.0\.0\.1")  # with a number where this process has hidden others before
    assert len(held) > 6 and any(hidden.search(one.decode(errors="replace")) for one in held) and hidden.search(told)
    for secret in ("reader", "word", "secret"):
        assert not any(secret.encode() in one for one in held) and secret not in told


def test_batches_that_end_in_an_error_are_a_wish_to_stop_while_two_are_left():
    wish, seen = Wish(), []

    def batches():
        yield from "abcd"
        raise UserError("no more.")

    with pytest.raises(UserError, match="no more"):
        for batch in foreseen(batches(), wish):
            seen.append((batch, wish.failure is not None))
    assert seen == [("a", False), ("b", False), ("c", True), ("d", True)]
    assert list(foreseen(iter("abcd"), Wish())) == list("abcd")
