"""The process of one part: python -m tools.benchmarks.gpu.child '{"name": ..., ...}' ROWS; one line a reading."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pretrain.runtime.errors import UserError
from tools.benchmarks.gpu.part import Asked
from tools.benchmarks.gpu.parts import PARTS


def main(order: dict[str, Any], rows: Path) -> None:
    """Measure the part that `order` names, and append its readings to `rows`."""
    until = time.monotonic() + order["seconds"]
    images = Path(order["images"]) if order["images"] else None
    with open(rows, "a", encoding="utf-8") as file, tempfile.TemporaryDirectory() as scratch:
        asked = Asked(order["device"], order["toy"], images, until, Path(scratch))
        for reading in PARTS[order["name"]].measure(asked):
            print(json.dumps(asdict(reading)), file=file, flush=True)


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]), Path(sys.argv[2]))
    except UserError as error:
        sys.stdout.flush()  # its words are to be the last
        sys.exit(str(error))
