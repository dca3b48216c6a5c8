"""Archives of any names and with damaged bytes: unpacked below the folder, or refused in one sentence."""

import io
import shutil
import tarfile
import zipfile

import pytest
from hypothesis import strategies as st

from helpers.damaged import damaged_bytes
from helpers.escapes import ESCAPES, UNWRITABLE
from helpers.fuzzing import outcome, search
from pretrain.runtime.errors import UserError
from tools.datasets.unpacking import archives
from tools.datasets.unpacking.archives import Archive

NAMES = st.one_of(
    st.sampled_from(["a", "b/c", "b/d", "a/e", "ä.txt", *ESCAPES, *UNWRITABLE]),
    st.text("ab/.\\:\0\n\x1b", max_size=6),
)
FILES = st.lists(st.tuples(NAMES, st.binary(max_size=40)), max_size=4)


def a_tar(files):
    kinds = (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=kinds[len(files) % 2]) as packed:
        for name, data in (one for one in files if one[0].encode(errors="ignore") == one[0].encode(errors="replace")):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            packed.addfile(entry, io.BytesIO(data))
    return content.getvalue()


def a_zip(files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as packed:
        for number, (name, data) in enumerate(files):
            if name.isprintable():
                packed.writestr(zipfile.ZipInfo(name or str(number)), data)
    return content.getvalue()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("make", [a_tar, a_zip], ids=["tar", "zip"])
def test_a_damaged_archive_stays_in_its_folder_or_is_refused(tmp_path, make):
    path, root = tmp_path / "set.arc", tmp_path / "deep" / "root"
    sound = make([("a", b"one" * 50), ("b/c", b"two" * 50), ("b/d", bytes(range(256)))])

    def check(content):
        shutil.rmtree(tmp_path / "deep", ignore_errors=True)
        path.write_bytes(content)
        done = outcome(
            lambda: archives.unpack(Archive(path.name, "", lambda name: name), tmp_path, root), tmp_path / "no"
        )
        assert {found.name for found in tmp_path.iterdir()} <= {"set.arc", "deep"}
        assert not (tmp_path / "deep").exists() or [found.name for found in (tmp_path / "deep").iterdir()] == ["root"]
        assert not list(root.rglob("*.part")) and not any(found.is_symlink() for found in root.rglob("*"))
        if isinstance(done, UserError):
            assert not (root / archives.STAMPS / "set.arc.json").exists()

    search(check, 80, content=st.one_of(FILES.map(make), damaged_bytes(sound)))
