"""The old name of tools/launcher/worker/restart.py, which batch scripts that wait in a queue still start."""

from __future__ import annotations

import sys

from tools.launcher.worker.restart import main

if __name__ == "__main__":
    sys.exit(main())
