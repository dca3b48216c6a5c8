"""Weights on a hub of models: `hf:USER/NAME[@REVISION][/FILE]`, read through huggingface_hub and the folder it keeps.

Nothing here imports torch or huggingface_hub when it is loaded, so that `--help` answers at once.
"""
