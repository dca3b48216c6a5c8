"""Run folders and result files that the report's tests are fed with; the numbers in them mean nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from pretrain.config import Config, dump, load
from transfer import results
from transfer.report.write import write_report


def a_result(path: Path, top1: float | None, init: str, seed: int = 0, **changes: object) -> Path:
    values = {
        "task": "knn",
        "protocol": "k-NN: k=20, 64 px",
        "dataset": "toys",
        "metrics": {"top1": top1},
        "counts": {"train": 90, "val": 30, "classes": 3, "skipped": 2},
        "seed": seed,
        "init": init,
        "arch": "resnet18",
        "checkpoint": f"{init}.pth",
        "checkpoint_sha256": f"{init}{seed}".encode().hex().ljust(64, "0"),
        "pretraining": {"method": "unigrad", "step": 0 if init == "random" else 20, "epoch": 2.0},
        "date": "2025-01-02T03:04:05+00:00",
        "seconds": 1.5,
    }
    return results.save(path, results.Result(**{**values, **changes}))


def a_line(step: int, **changes: object) -> str:
    line = {
        "step": step,
        "epoch": step / 10,
        "lr": 0.1,
        "target_momentum": 0.99,
        "positive": -0.5,
        "negative": 2.0,
        "positive_cosine": 0.5,
        "negative_cosine": 0.1,
        "decorrelation": 0.05,
        "images_per_second": 100.0,
        "data_wait": 0.25,
        "images_skipped": 0,
        "time": 1.7e9 + step,
    }
    return json.dumps({**line, **changes})


def a_run(
    folder: Path,
    lines: list[str],
    data_root: Path | str = "photographs/train",
    seed: int = 0,
    overrides: Sequence[str] = (),
) -> Path:
    folder.mkdir(parents=True)
    cfg = load(Config, None, [f"run_dir={folder}", "optim.batch_size=64", "method.balance=8", *overrides])
    cfg.data.root, cfg.run.seed = str(data_root), seed
    (folder / "config.yaml").write_text(dump(cfg))
    (folder / "command.txt").write_text("python tools/pretrain.py run_dir=x\ncommit 0123abc\n")
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    Image.new("RGB", (40, 20), "teal").save(folder / "views.png")
    return folder


def fill(root: Path) -> Path:
    """Two runs, three seeds of k-NN, one detection each with a picture, a foreign and a broken file."""
    for seed in range(2):
        a_run(root / f"pretrain-{seed}", [a_line(step) for step in (5, 10, 20)], seed=seed)
    for seed, (random, pretrained) in enumerate([(30.0, 40.0), (31.0, 41.5), (29.5, 42.0)]):
        a_result(root / f"knn-random-{seed}.json", random, "random", seed)
        a_result(root / f"knn-pretrained-{seed}.json", pretrained, "pretrained", seed)
    for init in ("random", "pretrained"):
        folder = root / f"detection-{init}"
        (folder / "detections").mkdir(parents=True)
        Image.new("RGB", (1200, 300), "olive").save(folder / "detections" / "scene_1.png")
        images = {"images": ["detections/scene_1.png"]}
        metrics = {"bbox_AP": 12.5, "bbox_AP50": 30.0}
        names = {"task": "detection", "protocol": "Faster R-CNN: 9 iterations", "dataset": "boxes"}
        a_result(folder / "result.json", None, init, metrics=metrics, artefacts=images, **names)
    (root / "foreign.json").write_text('{"images": [], "annotations": []}')
    (root / "metrics.json").write_text('{"iteration": 1}\n{"iteration": 2}\n')  # detectron2's, JSON by line
    (root / "cut.json").write_text('{"task": "knn", "protocol": "k-NN", "data')
    return root


def markdown_of(folder: Path, out: Path) -> str:
    return write_report([folder], out)[1].read_text(encoding="utf-8")


def cells(markdown: str, start: str, section: str = "") -> list[list[str]]:
    """The rows of Markdown tables that begin with `start`, of one section or of all."""
    _, _, within = ("\n" + markdown).partition(f"\n## {section}")
    within = within.partition("\n## ")[0] if section else markdown
    rows = [line for line in within.splitlines() if line.startswith(f"| {start} |")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
