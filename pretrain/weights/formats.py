"""What marks the files of weights that this repository writes: the value of their "format"."""

CHECKPOINT = "unigrad-checkpoint"  # a whole run: pretrain/engine/checkpoint.py, write
EXPORT = "unigrad-trunk"  # a trunk alone: pretrain/engine/checkpoint.py, export_trunk
