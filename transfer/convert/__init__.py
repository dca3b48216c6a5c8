"""Checkpoints to trunks and back: recognise a file's layout, check every tensor, rename, write, and verify.

layouts/ holds what is known of checkpoints, destinations/ the libraries that files are written for. names.py says what
each calls a tensor. read_file.py reads files, recognise.py finds the layout. read_trunk.py and trunk.py take a complete
trunk or say why not. write.py writes, verify.py compares, inspect_file.py describes.

This file imports nothing, so that `tools/convert.py --help` answers before torch is loaded.
"""
