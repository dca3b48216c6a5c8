"""Trunks to files of other libraries: rename, write, and verify; `pretrain.weights` reads what is converted.

destinations/ holds the libraries that files are written for. write.py writes, verify.py compares with peers.py,
inspect_file.py describes.

Nothing here imports torch, so that `tools/convert.py --help` answers before it is loaded.
"""

from pretrain.weights.names import detectron2_name as detectron2_name
