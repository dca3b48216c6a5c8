"""Where this repository lies: the only file that counts the folders above itself."""

from __future__ import annotations

from pathlib import Path

# the folder that holds pretrain/, transfer/, tools/ and configs/; without the last two in an installed package
REPOSITORY = Path(__file__).resolve().parents[2]
