"""`python -m unigrad`, which is the command `unigrad`."""

from __future__ import annotations

from unigrad import main

if __name__ == "__main__":
    main()
