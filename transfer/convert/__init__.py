"""Checkpoints to trunks and back: recognise a file's layout, check every tensor, rename, write, and verify.

layouts/ holds what is known of checkpoints, destinations/ the libraries that files are written for. names.py says what
each calls a tensor. read_file.py and pickles/ read files, recognise.py finds the layout. stated.py, openmmlab.py and
beside.py read what a file says of its network. read_trunk.py, trunk.py and numbers.py take a complete trunk or say why
not. write.py writes, verify.py compares with peers.py, inspect_file.py describes.

Nothing here imports torch, so that `tools/convert.py --help` answers before it is loaded.
"""

from transfer.convert.names import detectron2_name as detectron2_name
