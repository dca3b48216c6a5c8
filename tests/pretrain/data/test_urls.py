"""Sets at URLs are read by ranges from a real server: faults that pass are waited for, others end in one sentence."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import sys
import tarfile
import threading
import time

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from helpers import stored
from helpers.web import serving
from pretrain.data.decode import UnreadableImage
from pretrain.data.files import Kept, fetch, file_at, remote
from pretrain.data.files.blocks import Blocks
from pretrain.data.sources import Reading, addresses, open_source
from pretrain.runtime.errors import UserError

pytest.importorskip("aiohttp")
USER, QUERY = "reader:pass%20word", "X-Amz-Signature=top/secret"


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Waits that a test can afford, and no proxy between it and its own server."""
    monkeypatch.setattr(fetch, "WAITS", (0.01,) * 3)
    for module in (fetch, remote, addresses):
        monkeypatch.setattr(module, "FIRST", (0.01,))
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def web():
    with serving() as server:
        yield server


def put(web, tmp_path, way, user="", query=""):
    """A way to store the images, on the server; the URL of its data root."""
    (tmp_path / way).mkdir(exist_ok=True)
    root = str(stored.WAYS[way](tmp_path / way))
    web.files |= {str(path.relative_to(tmp_path)): path.read_bytes() for path in (tmp_path / way).rglob("*.*")}
    return web.url(root[len(str(tmp_path)) + 1 :], user, query)


def read(source):
    return [source.read_pixels(at) for at in range(len(source))]


def refused(root, told, **reading):
    with pytest.raises(UserError, match=told) as caught:
        read(open_source(root, reading=Reading(**reading)))
    sentence = str(caught.value)
    assert sentence.endswith(".") and sentence.isprintable() and "secret" not in sentence and "word" not in sentence


@pytest.mark.parametrize("way", ["folder in a zip", "tars in a tar", "WebDataset", "txt with labels", "csv"])
def test_a_set_behind_a_password_and_a_signature_is_read_and_neither_is_shown(web, tmp_path, way):
    url = put(web, tmp_path, way, USER, QUERY)
    web.user, web.query = "reader:pass word", QUERY
    source = open_source(url, labelled=True)
    assert np.array_equal(read(source), stored.pixels()) and source.labels == (0, 0, 0, 1, 1, 1)
    told = [source.about, source.where, str(source.root), source.key(0), repr(source), repr(source.fingerprint(0))]
    assert not any("secret" in one or "word" in one or "reader" in one for one in told)
    assert np.array_equal(read(pickle.loads(pickle.dumps(source))), stored.pixels())
    web.query = "another"
    refused(url, "may not be read .status 403.", url_cache=str(tmp_path / "other"))


@pytest.mark.parametrize("way", ["plain shards", "parquet"])
def test_files_that_a_pattern_matches_are_those_of_the_servers_page(web, tmp_path, way):
    pytest.importorskip("pyarrow")
    assert np.array_equal(read(open_source(put(web, tmp_path, way))), stored.pixels())
    refused(put(web, tmp_path, way, query=QUERY), "has a query, so its files cannot be listed: name them as in")


def test_each_stretch_is_asked_for_once_and_later_read_from_the_folder_by_anybody(web, tmp_path):
    url = put(web, tmp_path, "zip")
    first = read(open_source(url))
    spans = [span for _, span in web.asked if span != "bytes=0-0"]
    assert spans == [f"bytes=0-{len(web.files['zip/train.zip']) - 1}"]
    web.asked.clear()
    assert np.array_equal(read(open_source(url)), first)
    assert [span for _, span in web.asked] == ["bytes=0-0"]  # whether parts are given


def test_a_part_costs_what_it_holds_where_nothing_is_kept(web, monkeypatch):
    web.files["big.bin"] = bytes(range(256)) * 64
    monkeypatch.setattr(remote, "BLOCK", 1000)
    file = file_at(web.url("big.bin"), Kept("", 0))
    data = web.files["big.bin"]
    assert file.reader(file.state()).read(2500, 750) == data[750:3250]
    assert web.asked[-1][1] == "bytes=750-3249"
    for begin, size in ((0, 1), (999, 2), (16000, 5000), (16384, 1), (0, 16384)):
        assert file.reader(file.state()).read(size, begin) == data[begin : begin + size]


def test_reading_through_blocks_is_reading_the_file(web, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "BLOCK", 1000)
    data = web.files["big.bin"] = np.random.default_rng(0).bytes(9_500)
    file, drawn = file_at(web.url("big.bin"), Kept(str(tmp_path), 1)), np.random.default_rng(1)
    reader, opened = file.reader(file.state()), file.open(1 << 12)
    for begin, size in zip(drawn.integers(0, 9_700, 60).tolist(), drawn.integers(0, 4000, 60).tolist(), strict=True):
        assert reader.read(size, begin) == data[begin : begin + size]
        opened.seek(begin)
        assert opened.read(size) == data[begin : begin + size]
    assert sum(1 for path in tmp_path.rglob("*") if path.is_file()) == 11  # ten blocks and the ledger


@pytest.mark.parametrize("kind", ["busy", "cut", "few", "silent"])
@pytest.mark.parametrize("way", ["zip", "csv"])
def test_a_server_that_fails_for_a_while_is_asked_again_and_one_that_goes_on_so_is_told(web, tmp_path, way, kind):
    url = put(web, tmp_path, way, query=QUERY)
    web.query = QUERY
    if (way, kind) != ("csv", "few"):  # a file of which nobody says how long it is may be so short
        source = open_source(url, reading=Reading(url_cache_gib=0))
        web.fail(kind, 2)
        assert np.array_equal(read(source), stored.pixels())
    source = open_source(url, reading=Reading(url_cache_gib=0))
    web.fail("silent" if kind == "few" else kind)
    with pytest.raises(UserError, match=r"redacted.* has not answered at 4 tries .*the same command goes on"):
        read(source)
    web.faults = 0
    assert np.array_equal(read(source), stored.pixels())


def test_a_server_without_ranges_gives_the_file_once_and_only_where_it_can_be_kept(web, tmp_path):
    url = put(web, tmp_path, "tar")
    web.ranges = False
    for _ in range(2):
        assert np.array_equal(read(open_source(url)), stored.pixels())
    assert len(web.asked) == 3  # twice whether parts are given, and once for all
    refused(url, "gives no parts of files, and .* GiB do not fit into url_cache_gib=0: raise that", url_cache_gib=0)
    web.marks["tar/train.tar"] = '"another"'
    source = remote.remote_file(url, Kept(str(tmp_path / "anew"), 1))
    web.fail("few", 2)  # a length that is wrong, told by the server itself
    assert source.open().read() == web.files["tar/train.tar"]
    (tmp_path / "file").touch()
    refused(url, "cannot be kept in .*, and its server gives no parts", url_cache=str(tmp_path / "file" / "below"))


def test_a_file_that_changes_is_listed_anew_and_told_in_the_middle_of_a_run(web, tmp_path, capsys, monkeypatch):
    url = put(web, tmp_path, "tar")
    before = open_source(url, reading=Reading(url_cache_gib=0))
    monkeypatch.setattr(remote, "FRESH", -1.0)
    some = io.BytesIO()
    with tarfile.open(fileobj=some, mode="w") as archive:
        archive.add(tmp_path / "tar" / "train.tar", "x.png")
    web.files["tar/train.tar"], web.marks["tar/train.tar"] = some.getvalue(), '"new"'
    with pytest.raises(UserError, match="has changed since it was listed: start again"):
        before.read_bytes(0)
    assert len(open_source(url)) == 1 and "is newer than its index, which is made anew" in capsys.readouterr().out


WRONG = {
    "no such file": ("none.zip", "none.zip does not exist: correct the URL"),
    "no such shard": ("WebDataset/train-{000000..000002}.tar", "train-000002.tar does not exist"),
    "a folder": ("csv/images", "is a URL of no kind that is read from there"),
    "an array": ("csv/x.npz", "is a URL of no kind that is read from there"),
    "none matched": ("csv/*.tar", "there is none, such as"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_url_that_cannot_be_meant_is_one_sentence(web, tmp_path, case):
    put(web, tmp_path, "WebDataset")
    put(web, tmp_path, "csv")
    refused(web.url(WRONG[case][0]), WRONG[case][1])


def test_protocols_and_libraries_that_are_missing_are_named(tmp_path, monkeypatch):
    refused("nowhere://x/a.zip", r"is not of a protocol that fsspec knows .nowhere.")
    for library, url in (("aiohttp", "https://127.0.0.1/a.zip"), ("fsspec", "memory://a.zip")):
        with monkeypatch.context() as without:
            without.setitem(sys.modules, library, None)
            refused(url, f"read by {library}, which is not installed: pip install 'unigrad.remote.'")


def test_a_client_that_is_not_installed_is_named():
    if any(name in sys.modules for name in ("s3fs", "gcsfs")):
        pytest.skip("both are there")
    refused("gs://bucket/a.zip", "gs://bucket/a.zip cannot be read: .*gcsfs")


def test_a_client_that_takes_a_version_before_the_range_is_asked_for_the_range(tmp_path):
    """As s3fs does."""

    class Versioned(MemoryFileSystem):
        protocol = "versioned"

        @classmethod
        def _strip_protocol(cls, path):
            return super()._strip_protocol(path.replace("versioned://", "memory://"))

        def cat_file(self, path, version_id=None, start=None, end=None, **more):
            assert version_id is None
            return super().cat_file(path, start, end, **more)

    fsspec.register_implementation("versioned", Versioned, clobber=True)
    Versioned().pipe_file("/odd/a.zip", stored.zipped(tmp_path / "a.zip", stored.files()).read_bytes())
    assert np.array_equal(read(open_source("versioned://odd/a.zip")), stored.pixels())


def test_a_host_that_nobody_knows_is_told_soon():
    refused("http://127.0.0.1:9/a.zip", r"127\.0\.0\.1:9/a\.zip has not answered at 2 tries")


LISTS = {
    "several hosts": ("http://a/x.png\nhttp://b/y.png\n", "names URLs of several hosts"),
    "paths among them": ("http://a/x.png\nant/00.png\n", "names 1 URLs, such as http://a/x.png, among 2 paths"),
    "queries": ("http://a/x.png?sig=secret\n", "names a URL with a query or credentials of its own, .*redacted"),
    "twice": ("{0}/ant/00.png\n{0}/bee/../ant/00.png\n", "names ant/00.png twice|names 00.png twice"),
    "none there": ("{0}/ant/90.png\n{0}/ant/91.png\n", "names 2 images, and at .*/ant/90.png there is none"),
}


@pytest.mark.parametrize("case", LISTS)
def test_a_list_of_urls_that_cannot_be_meant_is_told(web, tmp_path, case):
    put(web, tmp_path, "csv")
    (tmp_path / "a.txt").write_text(LISTS[case][0].format(web.url("csv/images")))
    refused(tmp_path / "a.txt", LISTS[case][1])


def test_a_local_list_may_name_urls_and_one_of_a_server_local_files_and_what_is_gone_is_skipped(web, tmp_path):
    put(web, tmp_path, "csv")
    base, names = web.url("csv/images"), [*stored.files(), "bee/99.png"]
    (tmp_path / "urls.txt").write_text("".join(f"{base}/{name}\n" for name in names))
    (tmp_path / "below.txt").write_text("".join(f"{name}\n" for name in names))
    for root, images in (("urls.txt", ""), ("below.txt", base)):
        source = open_source(tmp_path / root, labelled=True, reading=Reading(images_root=images))
        assert source.key(0) == "ant/00.png" and np.array_equal(source.read_pixels(5), stored.pixels()[5])
        with pytest.raises(UnreadableImage, match=r"bee/99\.png .it is not there"):
            source.read_bytes(6)
    web.files["here.txt"] = "".join(f"{name}\n" for name in stored.files()).encode()
    local = open_source(web.url("here.txt"), reading=Reading(images_root=str(tmp_path / "csv" / "images")))
    assert np.array_equal(read(local), stored.pixels())


def test_several_roots_may_be_urls_and_folders_and_one_twice_is_refused(web, tmp_path):
    url, folder = put(web, tmp_path, "zip", USER, QUERY), stored.folder(tmp_path / "files")
    source = open_source(f"[{url},{folder}]")
    assert np.array_equal(read(source), [*stored.pixels(), *stored.pixels()]) and "secret" not in source.about
    refused(f"[{url},{url}]", "names http.*redacted.* twice")


def held(folder):
    """Bytes of the blocks, of which one that is renamed meanwhile counts once."""
    found = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if (status := path.stat()).st_mode & 0o100000 and path.name != "ledger":
                found[status.st_ino] = status.st_size
    return sum(found.values())


def test_the_folder_keeps_its_bound_while_many_write_and_what_this_run_reads_stays(tmp_path):
    bound, most = 10_000, []

    def fill(number):
        blocks = Blocks(tmp_path, bound, since=time.time_ns())
        for at in range(40):
            blocks.put({f"{number}/{at}": bytes(300)})
            most.append(held(tmp_path))

    threads = [threading.Thread(target=fill, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) <= bound and held(tmp_path) == 33 * 300  # full, and nobody's blocks went for another's
    for path in tmp_path.glob("*/*"):
        os.utime(path, ns=(1, int(path.name)))
    (tmp_path / "ledger").write_bytes(b"")  # as if a minute had passed since nothing could be removed
    later = Blocks(tmp_path, bound)
    used = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*"))[:20]
    assert all(later.get(name) == bytes(300) for name in used)
    for at in range(13):
        later.put({f"later/{at}": bytes(300)})
    assert held(tmp_path) <= bound and all(
        later.get(name) for name in used
    )  # the others went, the longest unused first
    assert all(later.get(f"later/{at}") for at in range(13))
    later.put({"later/large": bytes(9_000)})
    assert later.get("later/large") is None and not later.room(1)  # for a while


def test_a_block_that_is_removed_while_it_is_read_is_read_to_its_end(tmp_path):
    blocks = Blocks(tmp_path, 1000, since=0)
    blocks.put({"old/0": bytes(range(200)) * 4})
    os.utime(tmp_path / "old" / "0", ns=(1, 1))
    with open(tmp_path / "old" / "0", "rb") as reading:
        assert reading.read(10) == bytes(range(10))
        Blocks(tmp_path, 1000).put({"new/0": bytes(800)})
        assert not (tmp_path / "old" / "0").exists() and (tmp_path / "new" / "0").exists()
        assert reading.read() == (bytes(range(200)) * 4)[10:]
    assert blocks.get("old/0") is None


def test_a_set_larger_than_the_folder_keeps_a_part_and_says_so(web, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "BLOCK", 1024)
    url = put(web, tmp_path, "tar")
    gib = 6000 / 2**30
    source = open_source(url, reading=Reading(url_cache=str(tmp_path / "kept"), url_cache_gib=gib))
    assert "GiB, of which url_cache_gib=" in source.about
    asked = []
    for _ in range(3):
        web.asked.clear()
        assert np.array_equal(read(source), stored.pixels()) and held(tmp_path / "kept") <= 6000
        asked.append(len(web.asked))
    assert 0 < asked[1] == asked[2] < 14


def test_a_folder_that_cannot_be_written_is_done_without_and_told_once(web, tmp_path, capsys):
    (tmp_path / "file").touch()
    source = open_source(put(web, tmp_path, "zip"), reading=Reading(url_cache=str(tmp_path / "file" / "below")))
    assert np.array_equal(read(source), stored.pixels())
    assert 0 < capsys.readouterr().err.count("cannot be kept in") <= 3
