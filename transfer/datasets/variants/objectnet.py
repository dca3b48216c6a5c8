"""ObjectNet (Barbu et al., 2019): household objects turned, moved and in other rooms; 113 kinds are ImageNet's too.

Which kind is which class is read from the folder `mappings` of its archive.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path, PurePosixPath

from pretrain.runtime.errors import UserError
from pretrain.runtime.files import read_json, read_lines
from transfer.datasets.variants.base import Place, Variant, wnids

FILES = ("folder_to_objectnet_label.json", "objectnet_to_imagenet_1k.json", "pytorch_to_imagenet_2012_id.json")
NAMES = "imagenet_to_label_2012_v2"  # a name a line


def place(folder: Path, inside: str) -> Place | None:
    """FOLDER/images/KIND; None for a kind that is none of ImageNet's."""
    classes = _classes(folder).get(PurePosixPath(inside).name)
    return Place("ObjectNet", classes) if classes else None


@cache
def _classes(folder: Path) -> dict[str, tuple[str, ...]]:
    """The folders of ObjectNet's kinds to the classes of ImageNet that each of them is."""
    maps = folder / "mappings"
    absent = [name for name in (*FILES, NAMES) if not (maps / name).is_file()]
    if absent:
        raise UserError(f"{maps / absent[0]} is missing: unpack the archive of ObjectNet with its folder mappings.")
    labels, to_imagenet, to_line = (read_json(maps / name, "a map of ObjectNet") for name in FILES)
    try:
        index = {line: int(torch_index) for torch_index, line in to_line.items()}
        names = enumerate(read_lines(maps / NAMES, "names"))
        wnid = {name.strip(): wnids("imagenet")[index[line]] for line, name in names if name.strip()}
        kinds = {label: tuple(wnid[name] for name in all_names.split("; ")) for label, all_names in to_imagenet.items()}
        return {name: kinds[label] for name, label in labels.items() if label in kinds}
    except (KeyError, IndexError, ValueError, AttributeError, TypeError) as error:
        raise UserError(f"the files in {maps} do not fit together ({error}): unpack ObjectNet anew.") from error


VARIANT = Variant("objectnet", "ObjectNet", ("objectnet",), place, 50273, order=60)
