"""What marks the files of weights that this repository writes: the value of their "format"."""

CHECKPOINT = "unigrad-checkpoint"  # a whole run: pretrain/engine/checkpoint.py, write
ALL_BITS = 16  # of a deep grey value
BITS = "bits"  # in a trunk's meta: bits in use of its grey images of 16, where these are not all
EXPORT = "unigrad-trunk"  # a trunk alone: pretrain/engine/checkpoint.py, export_trunk
