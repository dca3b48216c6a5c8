"""The images of the parts that read files: the user's, or generated ones where none are given."""

from __future__ import annotations

from pathlib import Path

from tools.benchmarks.gpu.part import Asked

COUNT, TOY_COUNT = 2048, 24  # generated photographs, of one JPEG each
DISTINCT = 64  # of them; the others are copies, which cost as much to decode


def photographs(asked: Asked) -> Path:
    """A folder of JPEG files of the size of ImageNet's: the given train/, or generated ones in the part's scratch."""
    if asked.images:
        return asked.images / "train"
    from tools.benchmarks.reference import checks

    folder, count = asked.scratch / "photographs", TOY_COUNT if asked.toy else COUNT
    folder.mkdir()
    drawn = checks.generated(min(DISTINCT, count))
    for index in range(count):
        (folder / f"{index:05d}.jpg").write_bytes(drawn[index % len(drawn)])
    return folder


def synthetic(asked: Asked, *words: str) -> Path:
    """A generated set as tools/prepare_data.py draws it: classes/, voc/ and coco/.

    Args: asked, whose scratch it is put into; words, of the command, such as "--train", "800".
    """
    from tools import prepare_data

    folder = asked.scratch / "synthetic"
    prepare_data.main(["synthetic", str(folder), *words])
    return folder
