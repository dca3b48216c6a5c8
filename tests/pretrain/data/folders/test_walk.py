"""One walk: every image once, nothing of the system's, and each entry that is passed over is counted and told."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from pathlib import Path

import pytest
from PIL import Image

from pretrain.data.decode import UnreadableImage, decode, endings
from pretrain.data.folders.walk import SYSTEM, walk
from pretrain.data.sources import open_source
from pretrain.runtime.errors import UserError

NOBODY = 65534


def place(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), "teal").save(path, "PNG")
    return path


@pytest.fixture
def folder(tmp_path):
    """Two classes of three images, one of which lies deeper."""
    for name in ("cat/2.jpg", "cat/1.JPG", "cat/more/0.png", "dog/1.jpeg", "dog/2.PNG", "dog/3.webp"):
        place(tmp_path / "set" / name)
    return tmp_path / "set"


def names(tree):
    return [image.relative_to(tree.root).as_posix() for image in tree.images]


def as_os_walk(root, endings):
    """The order of the standard library's walk with everything sorted: what earlier runs trained with."""
    found = []
    for directory, folders, files in os.walk(root):
        folders.sort()
        found += [Path(directory, name) for name in sorted(files) if name.lower().endswith(tuple(endings))]
    return tuple(found)


def test_the_order_is_that_of_os_walk_so_that_runs_resume_bit_for_bit(folder):
    for name in ("cat/A/9.png", "cat/a.b/1.png", "cat/a/1.png", "zebra/x/y/z.png", "ape/é.png", "ape/e.png"):
        place(folder / name)
    assert walk(folder, endings()).images == as_os_walk(folder, endings())


HIDDEN = ["._1.jpg", ".DS_Store", ".hidden.png", "~$1.jpg", "Thumbs.db", "DESKTOP.INI", "Icon\r"]
HIDDEN_FOLDERS = [
    ".git",
    "__MACOSX",
    "__macosx",
    "@eaDir",
    "lost+found",
    "$RECYCLE.BIN",
    ".Trash-1000",
    ".ipynb_checkpoints",
]


@pytest.mark.parametrize("name", HIDDEN)
@pytest.mark.parametrize("where", ["", "cat/", "cat/more/"])
def test_hidden_files_are_counted_and_never_images(folder, name, where):
    before = walk(folder, endings())
    place(folder / where / name)
    tree = walk(folder, endings())
    assert tree.images == before.images and tree.omissions() == "; left out: 1 hidden or system"


@pytest.mark.parametrize("name", HIDDEN_FOLDERS)
def test_hidden_folders_hold_no_images_and_are_no_classes(folder, name):
    before = open_source(folder)
    for inside in ("cat/._1.jpg", "1.jpg", "deep/er/2.png"):
        place(folder / name / inside)
    place(folder / "dog" / name / "3.png")
    source = open_source(folder)
    assert (source.paths, source.classes, source.labels) == (before.paths, before.classes, before.labels)
    assert source.about.endswith("set: 6 images in 2 classes; left out: 2 hidden or system")


def test_every_system_name_is_hidden_in_any_case():
    with tempfile.TemporaryDirectory() as root:
        place(Path(root, "cat", "1.png"))
        for name in SYSTEM:
            place(Path(root, name.title(), "1.png"))
        assert names(walk(Path(root), endings())) == ["cat/1.png"]


@pytest.mark.parametrize(
    "links",
    [
        {"cat/up": ".."},
        {"cat/self": "."},
        {"cat/loop": "loop"},
        {"cat/out": "../.."},
        {"cat/root": "/"},
        {"cat/other": "../dog"},
        {"cat/a": "..", "cat/b": "../dog", "dog/c": "../cat", "dog/d": "../../set"},
    ],
    ids=" ".join,
)
def test_links_to_folders_of_the_set_or_above_end_and_every_image_is_seen_once(folder, links):
    before = walk(folder, endings())
    for name, target in links.items():
        (folder / name).symlink_to(target)
    tree = walk(folder, endings())
    assert tree.images == before.images
    assert sum(tree.left_out.values()) == len(links) and "links" in tree.omissions()


def test_a_link_to_a_folder_elsewhere_is_followed_once(folder, tmp_path):
    place(tmp_path / "elsewhere" / "deep" / "1.png")
    (tmp_path / "elsewhere" / "back").symlink_to(folder)
    for name in ("ant", "bee"):
        (folder / name).symlink_to(tmp_path / "elsewhere")
    tree = walk(folder, endings())
    assert [name for name in names(tree) if name[:3] in ("ant", "bee")] == ["ant/deep/1.png"]
    assert dict(tree.left_out) == {"links to folders that are read already": 2}


def test_a_link_of_an_image_that_leads_nowhere_is_told_when_it_is_read_and_others_are_counted(folder):
    (folder / "cat" / "gone.jpg").symlink_to("nowhere.jpg")
    (folder / "cow").symlink_to("/nowhere/at/all")
    source = open_source(folder)
    assert "1 links that lead nowhere" in source.about and source.classes == ("cat", "dog")
    lost = [path.name for path in source.paths].index("gone.jpg")
    with pytest.raises(UnreadableImage, match="gone.jpg"):
        source.read_bytes(lost)


def test_what_is_neither_file_nor_folder_is_never_opened(folder, monkeypatch):
    monkeypatch.chdir(folder / "dog")
    os.mkfifo(folder / "cat" / "pipe.jpg")  # reading it would wait for ever
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
    (folder / "dog" / "zero.png").symlink_to("/dev/zero")
    tree = walk(folder, endings())
    assert len(tree.images) == 6 and dict(tree.left_out) == {"neither files nor folders": 3}


def test_files_left_out_are_counted_by_ending_and_empty_folders_named(folder):
    for name in ("cat/a.txt", "cat/b.TXT", "dog/c.heic", "README", "data.tar.gz"):
        (folder / name).touch()
    for name in ("emu/inner/most", "fox", "cat/nothing"):
        (folder / name).mkdir(parents=True)
    (folder / "fox" / "notes.txt").touch()
    assert open_source(folder).about == (
        f"{folder}: 6 images in 2 classes; left out: 3 .txt, 1 .gz, 1 .heic, 1 without a known ending; "
        "3 folders hold no image: cat/nothing, emu, fox"
    )


def test_folders_a_thousand_deep_are_walked(tmp_path):
    deep = tmp_path.joinpath(*["d"] * 1010)
    here = tmp_path
    for _ in range(1010):
        here = here / "d"
        here.mkdir()
    place(deep / "1.png")
    assert walk(tmp_path, endings()).images == (deep / "1.png",)
    (deep / "1.png").unlink()
    for folder in (deep, *deep.parents[:1009]):  # from within, for shutil.rmtree calls itself for every folder
        folder.rmdir()


def written(ending, format):
    """A small picture in a format of Pillow's, or None where it writes none."""
    for mode in ("RGB", "L", "P", "1", "RGBA"):
        with contextlib.suppress(Exception), tempfile.NamedTemporaryFile(suffix=ending) as file:
            Image.new(mode, (16, 16)).save(file.name, format)
            return Path(file.name).read_bytes()
    return None


def readable(data):
    try:
        return decode(data, "x").shape == (16, 16, 3)
    except UnreadableImage:
        return False


def test_an_ending_is_an_images_exactly_where_the_decoder_reads_what_pillow_writes_under_it(tmp_path):
    Image.init()
    files = {
        ending: written(ending, name)
        for ending, name in Image.registered_extensions().items()
        if name in Image.SAVE and name != "SPIDER"  # whose endings are those that this process saved one under
    }
    decided = {ending: readable(data) for ending, data in files.items() if data}
    known = {".jfif", ".jp2", ".tga", ".dds"} | ({".avif"} if "AVIF" in Image.SAVE else set())  # from Pillow 11.3 on
    assert sum(decided.values()) > 25 and known <= {ending for ending, read in decided.items() if read}
    several = {".icns", ".ico"}  # which Pillow writes in sizes of their own
    assert {ending for ending, read in decided.items() if read} - several == {
        ending for ending in decided if ending in endings()
    } - several
    for number, ending in enumerate(sorted(endings())):
        for case in (str.lower, str.upper, str.title):
            (tmp_path / f"{number}{case.__name__}{case(ending)}").touch()
    assert len(walk(tmp_path, endings()).images) == len(set(os.listdir(tmp_path)))


@contextlib.contextmanager
def ordinary_user():
    """Without root's right to read everything; for whoever is not root, as it is."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def everybodys():
    """A folder that any user can enter, two classes in it; its rights are given back afterwards."""
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        os.chmod(root, 0o755)
        for name in ("cat/1.png", "cat/sub/2.png", "dog/1.png"):
            place(root / name)
        endings()  # the plugins are read while all may be read
        yield root
        for directory, folders, _ in os.walk(root):
            for name in folders:
                os.chmod(Path(directory, name), 0o755)


@pytest.mark.parametrize("name", ["cat", "cat/sub", "."])
@pytest.mark.parametrize("rights", [0o000, 0o444, 0o111], ids=["nothing", "names only", "no names"])
def test_a_folder_without_rights_is_one_sentence_and_never_a_class_less(everybodys, name, rights):
    os.chmod(everybodys / name, rights)
    try:
        with ordinary_user(), pytest.raises(UserError) as told:
            open_source(everybodys)
    finally:
        os.chmod(everybodys / name, 0o755)
    where = everybodys / name
    assert str(told.value).startswith(f"{where}") and "cannot be read (Permission denied)" in str(told.value)


def test_a_class_that_is_a_link_into_a_folder_without_rights_is_told(everybodys):
    with tempfile.TemporaryDirectory() as closed:
        place(Path(closed, "inner", "1.png"))
        (everybodys / "emu").symlink_to(Path(closed, "inner"))
        os.chmod(closed, 0o000)
        with ordinary_user(), pytest.raises(UserError, match="emu cannot be read .Permission denied"):
            open_source(everybodys)
