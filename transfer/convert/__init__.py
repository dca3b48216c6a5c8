"""Checkpoints to trunks and back: recognise a file's layout, check every tensor, rename, write, and verify.

layouts.py is the table of what is known; names.py what each library calls a tensor; contents.py reads files;
recognise.py, about.py and trunk.py make a whole trunk of them or say why not; destinations.py writes, verify.py
compares, inspection.py tells.
"""

from transfer.convert.inspect_file import describe
from transfer.convert.layouts import LAYOUTS
from transfer.convert.names import detectron2_name, from_detectron2_name
from transfer.convert.read_trunk import read_trunk
from transfer.convert.trunk import COUNTER, TrunkFile, build_trunk, check_trunk
from transfer.convert.verify import STAGES, TOLERANCE, loader_for, stages, write_verified
from transfer.convert.write import (
    DESTINATIONS,
    from_detectron2,
    provenance_of,
    save_detectron2,
    save_safetensors,
    save_torchvision,
    tensors_sha256,
    to_detectron2,
)

__all__ = [
    "COUNTER",
    "DESTINATIONS",
    "LAYOUTS",
    "STAGES",
    "TOLERANCE",
    "TrunkFile",
    "build_trunk",
    "check_trunk",
    "describe",
    "detectron2_name",
    "from_detectron2",
    "from_detectron2_name",
    "loader_for",
    "provenance_of",
    "read_trunk",
    "save_detectron2",
    "save_safetensors",
    "save_torchvision",
    "stages",
    "tensors_sha256",
    "to_detectron2",
    "write_verified",
]
