"""Damaged label images, and text files of boxes: what is accepted is trained on and measured as it is."""

import importlib
import io

import numpy as np
import pytest

pytest.importorskip("detectron2")

from hypothesis import strategies as st
from PIL import Image

from helpers.damaged import damaged_bytes
from helpers.detection_oracle import perfect_metrics
from helpers.detection_samples import C4, CONFIGS, QUIET, tiny
from helpers.fuzzing import outcome, search
from helpers.recipes import files_of
from pretrain.runtime.errors import UserError
from transfer.detection import catalog
from transfer.detection.config import load, scale
from transfer.detection.data import formats
from transfer.detection.data.mapper import SemanticMapper

pytestmark = [*QUIET, pytest.mark.slow]
SEMANTIC = CONFIGS / "semantic" / "coco_mini_semantic_r18_fpn_cpu.yaml"
SIDE, CLASSES = 16, ("background", "left", "right")
YOLO = "transfer/detection/data/formats/yolo.py"


def png(pixels, mode=None):
    written = io.BytesIO()
    Image.fromarray(pixels, mode).save(written, "PNG")
    return written.getvalue()


def sound_labels():
    labels = np.zeros((SIDE, SIDE), np.uint8)
    labels[2:9, :6], labels[2:9, 6:8], labels[2:9, 8:] = 1, 255, 2
    return labels


@st.composite
def label_images(draw):
    """PNGs of other values, sizes and kinds."""
    labels = sound_labels()
    down, across = draw(st.integers(0, SIDE - 1)), draw(st.integers(0, SIDE))
    labels[down:, :across] = draw(st.sampled_from([0, 1, 2, 3, 254, 255]))
    shape = draw(st.sampled_from([(SIDE, SIDE)] * 4 + [(SIDE, SIDE + 1), (1, 1), (SIDE // 2, 2 * SIDE)]))
    labels = np.resize(labels, shape)
    kind = draw(st.sampled_from(["L", "L", "P", "1", "RGB", "I;16", "LA", "F"]))
    if kind == "F":
        written = io.BytesIO()
        Image.fromarray(labels.astype(np.float32)).save(written, "TIFF")
        return written.getvalue()
    image = Image.fromarray(labels.astype(np.uint16) if kind == "I;16" else labels)
    if kind == "P":
        image.putpalette(draw(st.binary(min_size=768, max_size=768)))
    elif kind not in ("L", "I;16"):
        image = image.convert(kind)
    written = io.BytesIO()
    image.save(written, "PNG")
    return written.getvalue()


def test_a_damaged_label_image_is_measured_as_it_is_or_refused(tmp_path):
    root, pixels = tmp_path / "set", np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8)
    for place in range(2):
        for kind, content in (("images", png(pixels[place])), ("labels", png(sound_labels()))):
            (root / kind).mkdir(parents=True, exist_ok=True)
            (root / kind / f"{place}.png").write_bytes(content)
    split = "('images:labels',)"
    data = [f"DATASETS.ROOT={root}", f"DATASETS.TRAIN={split}", f"DATASETS.TEST={split}", "DATASETS.LAYOUT=folders"]
    own = [f"DATASETS.CLASSES={CLASSES}", "MODEL.SEM_SEG_HEAD.NUM_CLASSES=3", "MODEL.WEIGHTS=random"]
    sizes = ["INPUT.MIN_SIZE_TRAIN=(16,)", "INPUT.MIN_SIZE_TEST=16", "INPUT.CROP.ENABLED=False"]
    sizes += ["DATALOADER.NUM_WORKERS=0"]
    cfg = load.load_config(SEMANTIC, [*data, *own, *sizes])
    scale.fit_to_machine(cfg, 1)

    def check(content):
        (root / "labels" / "0.png").write_bytes(content)
        opened = outcome(lambda: catalog.open_datasets(cfg, tmp_path / "scratch"), root)
        if isinstance(opened, UserError):
            return
        records = opened.readings[opened.test].records
        taught = [SemanticMapper(cfg, True)(record)["sem_seg"].numpy() for record in records]
        assert all(set(np.unique(labels)) <= {0, 1, 2, 255} for labels in taught)
        metrics = perfect_metrics(cfg, opened, tmp_path / "scratch")
        assert metrics == pytest.approx(dict.fromkeys(metrics, 100)), opened.notes()

    search(check, 60, content=st.one_of(label_images(), damaged_bytes(png(sound_labels()))))


@pytest.fixture
def yolo(tmp_path, monkeypatch):
    """The format of docs/extending.md among the others, for this test alone."""
    (source,) = (text for path, text in files_of("A new format of detection data").items() if path == YOLO)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "yolo.py").write_text(source)
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, str(tmp_path / "more")])
    formats.all_formats.cache_clear()
    importlib.invalidate_caches()
    yield
    formats.all_formats.cache_clear()


NUMBER = st.one_of(
    st.floats(-0.2, 1.2).map(lambda value: f"{value:.6g}"),
    st.sampled_from(["nan", "inf", "-inf", "1e400", "-0.0", "1e-9", "0", "1", "", "x", "0x1", "1_0", "٣", "1,5"]),
)
LINE = st.builds(
    lambda kind, numbers: " ".join([kind, *numbers]),
    st.sampled_from(["0", "1", "2", "-1", "0.5", "x", "1" * 30]),
    st.lists(NUMBER, min_size=3, max_size=6),
)
SOUND = "0 0.5 0.5 0.5 0.4\n1 0.25 0.25 0.2 0.3\n"


def test_a_damaged_text_file_of_boxes_is_right_or_refused(tmp_path, yolo):
    root = tmp_path / "set"
    for kind in ("images", "labels"):
        (root / kind / "val").mkdir(parents=True)
    for place in range(2):
        pixels = np.random.default_rng(place).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "images" / "val" / f"{place}.png")
        (root / "labels" / "val" / f"{place}.txt").write_text(SOUND)
    data = [f"DATASETS.ROOT={root}", "DATASETS.TRAIN=('val',)", "DATASETS.TEST=('val',)", "DATASETS.LAYOUT=yolo"]
    own = [*data, "DATASETS.EVALUATOR=coco", "DATASETS.CLASSES=('a','b')"]

    def check(content):
        (root / "labels" / "val" / "0.txt").write_bytes(content)
        cfg = load.load_config(C4, tiny(C4, root, "random", *own))
        opened = outcome(lambda: catalog.open_datasets(cfg, tmp_path / "scratch"), root)
        if not isinstance(opened, UserError):
            metrics = perfect_metrics(cfg, opened, tmp_path / "scratch")
            assert metrics == pytest.approx(dict.fromkeys(metrics, 100)), opened.notes()

    check(SOUND.encode())
    texts = st.lists(LINE, max_size=4).map(lambda lines: "\n".join(lines).encode())
    search(check, 40, content=st.one_of(texts, texts, damaged_bytes(SOUND.encode())))
