"""An archive that would fill the disk, leave its folder or crash its reader is one sentence, and writes nothing."""

import gzip
import io
import json
import os
import struct
import tarfile
import zipfile

import pytest

from helpers.archive_files import a_tar, a_zip, an_archive
from helpers.escapes import ESCAPES, UNWRITABLE
from pretrain.runtime.errors import UserError
from tools.datasets import imagenet
from tools.datasets.unpacking import archives, members
from tools.datasets.unpacking.archives import Archive
from tools.datasets.unpacking.completeness import names_in_json

BOTH = pytest.mark.parametrize("make", [a_tar, a_zip], ids=["tar", "zip"])


def files_below(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def refused(path, root, place=lambda name: name):
    with pytest.raises(UserError) as caught:
        archives.unpack(an_archive(path, place), path.parent, root)
    assert str(caught.value).isprintable() and str(path) in str(caught.value)
    assert not [found for found in files_below(root) if archives.STAMPS not in found.parts]
    return str(caught.value)


@BOTH
@pytest.mark.parametrize("name", [*ESCAPES, *UNWRITABLE], ids=ascii)
def test_no_member_leaves_the_folder(tmp_path, make, name):
    if make is a_zip and ("\0" in name or "\ud800" in name or not name or name.endswith("/")):
        pytest.skip("a zip cannot hold it, or holds it as a folder")
    if make is a_tar and (name in ("", "a/", ".") or "\0" in name or "\ud800" in name):
        pytest.skip("tarfile writes another name")
    before = files_below(tmp_path)
    path = make(tmp_path / "bad.arc", {"fine.txt": b"x", name: b"y"})
    told = refused(path, tmp_path / "deep" / "root", lambda member: f"inner/{member}")
    assert "holds the name" in told
    assert set(files_below(tmp_path)) - set(before) <= {path, *files_below(tmp_path / "deep" / "root")}


@pytest.mark.parametrize("name", [*ESCAPES, "a\\b.png", "aux.png"], ids=ascii)
def test_no_image_of_imagenet_leaves_the_folder_of_its_class(tmp_path, name):
    inner = a_tar(tmp_path / "inner.tar", {"fine.JPEG": b"x", name: b"y"}).read_bytes()
    a_tar(tmp_path / "ILSVRC2012_img_train.tar", {"n01440764.tar": inner})
    before = files_below(tmp_path)
    with pytest.raises(UserError, match="holds the name"):
        imagenet.unpack(Archive("ILSVRC2012_img_train.tar", "", imagenet.place), tmp_path, tmp_path / "deep" / "root")
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("name", ESCAPES, ids=ascii)
def test_no_class_of_imagenets_list_leads_outside(tmp_path, name):
    a_tar(tmp_path / "ILSVRC2012_img_val.tar", {"ILSVRC2012_val_00000001.JPEG": b"x"})
    listing = tmp_path / "deep" / "root" / "imagenet" / imagenet.VAL_CLASSES
    listing.parent.mkdir(parents=True)
    listing.write_text(json.dumps([name]))
    before = files_below(tmp_path)
    with pytest.raises(UserError, match="holds the name"):
        imagenet.unpack(Archive("ILSVRC2012_img_val.tar", "", imagenet.place), tmp_path, tmp_path / "deep" / "root")
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("name", [*ESCAPES, *UNWRITABLE], ids=ascii)
def test_no_name_in_a_list_or_json_has_files_looked_for_outside(tmp_path, name):
    (tmp_path / "in.json").write_text(json.dumps({"images": [{"file_name": name}]}))
    for found, told in (names_in_json(tmp_path / "in.json", 1), names_in_json(tmp_path / "in.json", 1, "absent")):
        assert not found and len(told) == 1 and told[0].isprintable()


@BOTH
def test_a_link_in_the_folder_is_not_written_through(tmp_path, make):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a").symlink_to(tmp_path / "elsewhere")
    assert "leads through the link" in refused(make(tmp_path / "set.arc", {"a/b.txt": b"x"}), tmp_path / "root")
    assert not files_below(tmp_path / "elsewhere")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "set.tar", "w") as packed:
        packed.addfile(tarfile.TarInfo("first"), io.BytesIO())
        entry = tarfile.TarInfo("a\x1b[2J")
        entry.type, entry.linkname = kind, "/etc/passwd"
        packed.addfile(entry)
    assert r"the link or device a\x1b[2J" in refused(tmp_path / "set.tar", tmp_path / "root")


@pytest.mark.parametrize("mode", [0o120777, 0o020666, 0o010666])
def test_links_and_devices_in_a_zip_are_refused(tmp_path, mode):
    entry = zipfile.ZipInfo("a")
    entry.external_attr = mode << 16
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as packed:
        packed.writestr("first", b"x")
        packed.writestr(entry, "/etc/passwd")
    assert "the link or device a" in refused(tmp_path / "set.zip", tmp_path / "root")


def test_a_zip_that_unpacks_to_a_thousand_times_its_size_is_refused_unopened(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in "abc":
            packed.writestr(name, bytes(50 << 20))
    assert (tmp_path / "bomb.zip").stat().st_size < 1 << 20
    assert "states more than" in refused(tmp_path / "bomb.zip", tmp_path / "root")


def test_a_compressed_tar_is_read_no_farther_than_its_bound(tmp_path):
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w") as packed:
        entry = tarfile.TarInfo("a")
        entry.size = 80 << 20
        packed.addfile(entry, io.BytesIO(bytes(entry.size)))
    (tmp_path / "bomb.tar.gz").write_bytes(gzip.compress(inner.getvalue(), 6))
    assert "states more than" in refused(tmp_path / "bomb.tar.gz", tmp_path / "root")


def test_a_sparse_terabyte_is_refused(tmp_path):
    entry = tarfile.TarInfo("huge")
    entry.size = 512
    entry.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 40)}
    with tarfile.open(tmp_path / "sparse.tar", "w", format=tarfile.PAX_FORMAT) as packed:
        packed.addfile(entry, io.BytesIO(b"1\n0\n512\n".ljust(512, b"\0")))
    assert refused(tmp_path / "sparse.tar", tmp_path / "root")


def a_header(name=b"a", size=b"00000000001\0", kind=b"0"):
    block = bytearray(512)
    block[: len(name)] = name
    block[100:108], block[124 : 124 + len(size)], block[156:157] = b"0000644\0", size, kind
    block[257:265], block[148:156] = b"ustar\00000", b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize(
    "content",
    [
        a_header(size=b"77777777777\0"),
        a_header(size=b"\x80" + (1 << 50).to_bytes(11, "big")),
        a_header(size=b"\xff" + ((1 << 88) - 512).to_bytes(11, "big")) + a_header(),  # minus 512: the same header again
        a_header(kind=b"x", size=b"77777777777\0"),
        a_header(kind=b"x", size=b"\x80" + (1 << 50).to_bytes(11, "big")),
        a_header(kind=b"L", size=b"77777777777\0"),
        a_header(kind=b"x", size=b"\xff" + ((1 << 88) - 512).to_bytes(11, "big")),
        (a_header(kind=b"x", size=b"00000000000\0")) * 2000,
    ],
    ids=["8 GiB", "1 PiB", "negative", "long header", "huge header", "long name", "negative header", "headers only"],
)
def test_a_tar_that_states_what_it_does_not_hold_is_one_sentence(tmp_path, content):
    (tmp_path / "bad.tar").write_bytes(content)
    assert refused(tmp_path / "bad.tar", tmp_path / "root")


def patched(path, change):
    content = bytearray(path.read_bytes())
    change(content, content.find(b"PK\3\4"), content.find(b"PK\1\2"))
    path.write_bytes(bytes(content))
    return path


def encrypt(content, local, central):
    content[local + 6] |= 1
    content[central + 8] |= 1


def deflate64(content, local, central):
    content[local + 8 : local + 10] = content[central + 10 : central + 12] = struct.pack("<H", 9)


def damage(content, local, central):
    content[local + 31] ^= 0xFF  # of the one stored byte


def cut(content, local, central):
    del content[central:]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (encrypt, "holds the encrypted a"),
        (deflate64, "in the compression method 9"),
        (damage, "damaged or cut short"),
        (cut, "damaged or cut short"),
    ],
    ids=["encrypted", "Deflate64", "damaged", "cut short"],
)
def test_a_zip_that_python_cannot_unpack_is_one_sentence(tmp_path, change, sentence):
    path = patched(a_zip(tmp_path / "set.zip", {"a": b"x"}), change)
    assert sentence in refused(path, tmp_path / "root")


@BOTH
def test_a_file_that_is_also_a_folder_or_comes_twice_is_refused(tmp_path, make):
    assert "as a file and as a folder" in refused(
        make(tmp_path / "set.arc", {"a/b": b"x", "a": b"y"}), tmp_path / "root"
    )
    path = make(tmp_path / "two.arc", {"a": b"x", "b": b"y"})
    assert "twice" in refused(path, tmp_path / "root", lambda name: "same")


@BOTH
def test_what_stands_in_the_way_in_the_folder_is_one_sentence(tmp_path, make):
    path = make(tmp_path / "set.arc", {"a/b": b"x"})
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a").write_bytes(b"in the way")
    with pytest.raises(UserError, match="cannot be unpacked"):
        archives.unpack(an_archive(path), tmp_path, tmp_path / "root")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="cannot be unpacked"):
        archives.unpack(an_archive(path), tmp_path, tmp_path / "file")


@pytest.mark.parametrize("stamp", ["{", "[]", "\xff", "[" * 100_000], ids=["cut", "list", "bytes", "deep"])
def test_a_damaged_stamp_has_the_archive_unpacked_again(tmp_path, stamp):
    path = a_tar(tmp_path / "set.tar", {"a": b"x"})
    noted = tmp_path / "root" / archives.STAMPS / "set.tar.json"
    noted.parent.mkdir(parents=True)
    noted.write_bytes(stamp.encode("latin-1"))
    archives.unpack(an_archive(path), tmp_path, tmp_path / "root")
    assert (tmp_path / "root" / "a").read_bytes() == b"x" and json.loads(noted.read_text())["unpacked"]


def test_more_than_the_disk_holds_is_told_before_anything_is_written(tmp_path):
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    (tmp_path / "set.tar").write_bytes(bytes(10))
    entry = members.Member("a", free + (1 << 30), io.BytesIO)
    with pytest.raises(UserError, match="no room is left"):
        members.survey(tmp_path / "set.tar", [entry], tmp_path, lambda name: name, size=free)


def test_a_tar_that_ends_with_a_zip_is_read_as_a_tar(tmp_path):
    inner = a_zip(tmp_path / "inner.zip", {"x": b"x"}).read_bytes()
    archives.unpack(an_archive(a_tar(tmp_path / "set.tar", {"a": b"1", "b.zip": inner})), tmp_path, tmp_path / "root")
    assert (tmp_path / "root" / "a").read_bytes() == b"1" and (tmp_path / "root" / "b.zip").read_bytes() == inner
