"""What is secret in a URL is marked in whatever is written, and known again in this process alone."""

from __future__ import annotations

import pickle
import re

import pytest

from pretrain.config import Config, dump, load
from pretrain.data.sources import resolved
from pretrain.runtime import urls
from pretrain.runtime.errors import UserError
from pretrain.runtime.options import load as read_options
from tools.launch import main as launch
from transfer.options import Common

PLAIN = (
    "images/train",
    "a=b/c",
    "s3://bucket/train-{000000..000146}.tar",
    "s3://bucket/part-?.tar",
    "abfs://container@account.dfs.core.windows.net/a.zip",
    "sftp://me@host/a.zip",
    "https://host:8080/a@b/c.tar",
    "https://[::1]:8080/a@b.tar",
    "https://host/a.tar?",
    "[images,https://host/a.zip]",
    "data.root=s3://bucket/a.zip",
)
SECRET = {
    "https://u:p@host/a.tar": "https://{}@host/a.tar",
    "https://token@host/a.tar": "https://{}@host/a.tar",
    "https://u:p/w@host/a.tar": "https://{}@host/a.tar",
    "sftp://u:p@host/a.tar": "sftp://{}@host/a.tar",
    "https://host/a-{0..3}.tar?X=1&Y=2#z": "https://host/a-{{0..3}}.tar?{}",
    "https://u:p@host/a.tar?X=1": "https://{}@host/a.tar?{}",
    "data.root=https://u:p@host/a.tar": "data.root=https://{}@host/a.tar",
    "data.root=[https://u:p@host/{a,b}.tar?X=1,b]": "data.root=[https://{}@host/{{a,b}}.tar?{},b]",
    "gs://bucket/a.zip?sig=x": "gs://bucket/a.zip?{}",
}


def test_what_holds_no_secret_stays_as_it_is():
    assert [urls.hide(one) for one in PLAIN] == list(PLAIN)


@pytest.mark.parametrize("url", SECRET)
def test_a_secret_is_marked_alike_each_time_and_known_again(url):
    hidden = urls.hide(url)
    marks = re.findall(urls.MARK, hidden)
    assert hidden == SECRET[url].format(*marks) and urls.hide(hidden) == hidden == urls.hide(url)
    if "[" not in url:
        assert urls.reveal(hidden) == url


def test_two_secrets_have_two_marks_and_one_of_another_process_is_asked_for(monkeypatch):
    one, two = (urls.hide(f"https://host/a.zip?id={number}") for number in (1, 2))
    assert one != two and urls.reveal(two).endswith("id=2")
    with pytest.raises(UserError, match="says 'redacted-99' where its credentials stood: give the URL"):
        urls.reveal("https://redacted-99@host/a.zip")
    sent = pickle.dumps(urls.Address(one))
    monkeypatch.setattr(urls, "_secrets", {})  # as in a process that was started anew
    assert urls.reveal(pickle.loads(sent).name) == "https://host/a.zip?id=1"


def test_options_hold_the_marks_and_a_record_names_the_root_without_secrets():
    url = "https://u:hush@host/a.zip?sig=hush"
    cfg = load(Config, None, [f"data.root=[{url},b]", f"data.val={url}", f"data.images_root={url}"])
    common = read_options(Common, None, [f"data.images_root={url}"])
    assert "hush" not in dump(cfg) and "hush" not in dump(common) and cfg.data.root.endswith(",b]")
    assert resolved(cfg.data.val) == resolved(url) == cfg.data.val and "hush" not in resolved(f"[{url},b]")
    assert urls.reveal(cfg.data.val) == url


def test_a_job_whose_command_would_hold_a_secret_is_refused(tmp_path):
    words = ["--run-dir", str(tmp_path / "run"), "--cluster", "local", "data.root=https://u:hush@host/a.zip"]
    with pytest.raises(UserError, match="redacted.*would be written into the files of the job.*netrc") as caught:
        launch(words)
    assert "hush" not in str(caught.value) and not (tmp_path / "run").exists()


def test_parts_of_a_url_are_told_from_its_query():
    assert urls.split("https://h/a.zip?x=1") == ("https://h/a.zip", "?x=1")
    assert urls.split("s3://b/part-?.tar") == ("s3://b/part-?.tar", "")
    assert urls.below("https://h/a.zip?x=1", "train") == "https://h/a.zip/train?x=1"
    assert urls.below("a", "train") == "a/train" and urls.spelled("s3:/b/a.zip") == "s3://b/a.zip"
    assert urls.pieces("[a{b,c},d]") == ["a{b,c}", "d"]
