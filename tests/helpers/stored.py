"""The same few images stored in every way that can be a data root: for tests of sources."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import zipfile

import numpy as np
from PIL import Image

CLASSES = ("ant", "bee")


def pixels(count=6, side=(20, 24)):
    """uint8 (count, H, W, 3)."""
    return np.random.default_rng(0).integers(0, 255, (count, *side, 3), dtype=np.uint8)


def png(picture):
    written = io.BytesIO()
    Image.fromarray(picture).save(written, "PNG")
    return written.getvalue()


def files(count=6):
    """Name below the root and bytes of each image, in the order of a walk."""
    return {f"{CLASSES[at * 2 // count]}/{at:02d}.png": png(one) for at, one in enumerate(pixels(count))}


def folder(root):
    for name, data in files().items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def tar(path, members, links=()):
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
        for name in links:
            about = tarfile.TarInfo(name)
            about.type, about.linkname = tarfile.SYMTYPE, "ant/00.png"
            archive.addfile(about)
    return path


def zipped(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in reversed(members.items()):
            archive.writestr(name, data)
    return path


def _of_class(name):
    return {inside.partition("/")[2]: data for inside, data in files().items() if inside.startswith(name)}


def _tars_in_a_tar(root):
    inner = {f"{name}.tar": tar(root / f"{name}.inner", _of_class(name)).read_bytes() for name in CLASSES}
    return tar(root / "train.tar", inner)


def _shards(root):
    shards = [{}, {}]
    for at, (name, data) in enumerate(files().items()):
        stem = f"{at:06d}"
        shards[at // 3] |= {f"{stem}.png": data, f"{stem}.cls": str(CLASSES.index(name[:3])).encode()}
    for at, members in enumerate(shards):
        tar(root / f"train-{at:06d}.tar", members)
    return f"{root}/train-{{000000..000001}}.tar"


def _plain_shards(root):
    held = list(files().items())
    for at in range(3):
        tar(root / f"part{at}.tar", dict(held[at::3]))
    return f"{root}/part*.tar"


def _list(root, name, write):
    folder(root / "images")
    (root / "images" / name).write_text("".join(write(name) for name in reversed(files())))
    return root / "images" / name


def _arrays(root, compressed=False, first=False):
    images = pixels().transpose(0, 3, 1, 2) if first else pixels()
    save = np.savez_compressed if compressed else np.savez
    save(root / "train.npz", images=images, labels=[0, 0, 0, 1, 1, 1], classes=np.array(CLASSES))
    return root / "train.npz"


def table():
    """The images as Hugging Face has them in Arrow, and the labels with their names."""
    import pyarrow as pa

    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = pa.array([{"bytes": data, "path": name} for name, data in files().items()], kind)
    labels = pa.array([CLASSES.index(name[:3]) for name in files()], pa.int64())
    features = {"image": {"_type": "Image"}, "label": {"names": list(CLASSES), "_type": "ClassLabel"}}
    return pa.table({"image": images, "label": labels}).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )


def _parquet(root):
    import pyarrow.parquet

    pyarrow.parquet.write_table(table().slice(0, 4), root / "train-0.parquet", row_group_size=2)
    pyarrow.parquet.write_table(table().slice(4), root / "train-1.parquet", row_group_size=2)
    return f"{root}/train-*.parquet"


def _saved(root):
    import pyarrow as pa

    (root / "train").mkdir()
    for at, part in enumerate((table().slice(0, 4), table().slice(4))):
        with (
            pa.OSFile(str(root / "train" / f"data-{at}.arrow"), "wb") as out,
            pa.ipc.new_stream(out, part.schema) as to,
        ):
            to.write_table(part, max_chunksize=2)
    held = [{"filename": f"data-{at}.arrow"} for at in range(2)]
    (root / "train" / "state.json").write_text(json.dumps({"_data_files": held}))
    return root / "train"


def _several(root):
    for name in CLASSES:
        for inside, data in _of_class(name).items():
            (root / name / name).mkdir(parents=True, exist_ok=True)
            (root / name / name / inside).write_bytes(data)
    return f"[{root}/ant,{root}/bee]"


def at_url(root, way):
    """What a way makes, put into fsspec's memory; the URL of its data root."""
    import fsspec

    (root / "made").mkdir()
    made = str(WAYS[way](root / "made"))
    memory = fsspec.filesystem("memory")
    for path in (root / "made").rglob("*.*"):
        memory.pipe_file(f"/{root.name}{str(path)[len(str(root)) :]}", path.read_bytes())
    shutil.rmtree(root / "made")
    return f"memory://{root.name}{made[len(str(root)) :]}"


WAYS = {  # what each makes of an empty folder: a data root
    "folder": lambda root: folder(root / "images"),
    "zip": lambda root: zipped(root / "train.zip", files()),
    "zip, stored": lambda root: zipped(root / "train.zip", files(), zipfile.ZIP_STORED),
    "folder in a zip": lambda root: zipped(root / "all.ZIP", {f"train/{k}": v for k, v in files().items()}) / "train",
    "tar": lambda root: tar(root / "train.tar", dict(reversed(files().items()))),
    "folder in a tar": lambda root: tar(root / "a.tar", {f"./set/{k}": v for k, v in files().items()}) / "set",
    "tars in a tar": _tars_in_a_tar,
    "WebDataset": _shards,
    "plain shards": _plain_shards,
    "txt": lambda root: _list(root, "train.txt", lambda name: f"{name}\n"),
    "txt with labels": lambda root: _list(root, "train.txt", lambda name: f"{name} {CLASSES.index(name[:3])}\r\n"),
    "csv": lambda root: _list(
        root, "train.csv", lambda name: ("path,label\n" * (name[-5] == "5")) + f"{name},{name[:3]}\n"
    ),
    "tsv without a heading": lambda root: _list(root, "train.TSV", lambda name: f"{name}\t{name[:3]}\n"),
    "arrays": _arrays,
    "compressed arrays": lambda root: _arrays(root, compressed=True),
    "arrays, channels first": lambda root: _arrays(root, first=True),
    "parquet": _parquet,
    "saved": _saved,
    "several": _several,
    "zip at a URL": lambda root: at_url(root, "folder in a zip"),
    "tar at a URL": lambda root: at_url(root, "plain shards"),
    "list at a URL": lambda root: at_url(root, "csv"),
    "parquet at a URL": lambda root: at_url(root, "parquet"),
}
