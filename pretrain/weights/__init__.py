"""Weights in files of any project: find a layout, check every tensor, take the trunk whole or say why not.

layouts/ holds what is known of checkpoints, names.py what each calls a tensor, formats.py the marks of our own files.
read_file.py and pickles/ read files, recognise.py finds the layout. stated.py, openmmlab.py and beside.py read what a
file says of its network. read_trunk.py, trunk.py and numbers.py take a complete trunk.
"""
