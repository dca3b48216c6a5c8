"""Semantic segmentation: labels stay what they are, perfect predictions have IoU 100, and every head runs."""

import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("detectron2")

import torch
import torchvision
from PIL import Image
from torch import nn
from torch.nn import functional

from helpers.detection_samples import CONFIGS, QUIET, random_trunk, save_trunk
from pretrain.runtime.errors import UserError
from transfer import results
from transfer.detection import catalog, train
from transfer.detection.config import load, scale
from transfer.detection.data.mapper import SemanticMapper
from transfer.detection.evaluation import measure
from transfer.detection.modeling import weights

pytestmark = [*QUIET, pytest.mark.slow]
MINI = CONFIGS / "semantic" / "coco_mini_semantic_r18_fpn_cpu.yaml"
FCN = CONFIGS / "semantic" / "voc_fcn_r50_30k.yaml"
DEEPLAB = CONFIGS / "semantic" / "voc_deeplabv3plus_r50_20k.yaml"
SIDE = 64
CLASSES = ("background", "left", "right")


def write_folders(root, count=4):
    """ROOT/{images,labels}/{train,val}/K.*: a palette PNG of two classes, ignored pixels between them."""
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (root / kind / split / "town").mkdir(parents=True)
        for index in range(count):
            labels = np.zeros((SIDE, SIDE), dtype=np.uint8)
            labels[8:40, :20], labels[8:40, 20:24], labels[8:40, 24 + index :] = 1, 255, 2
            pixels = generator.integers(0, 90, (SIDE, SIDE, 3), dtype=np.uint8)
            pixels[labels == 1, 0] += 150
            pixels[labels == 2, 2] += 150
            palette = Image.fromarray(labels)
            palette.putpalette([int(value) for value in generator.integers(0, 256, 768)])
            palette.save(root / "labels" / split / "town" / f"{index}.png")
            Image.fromarray(pixels).save(root / "images" / split / "town" / f"{index}.jpg")
    return root


@pytest.fixture
def folders(tmp_path):
    return write_folders(tmp_path / "set")


def tiny(root, *more):
    return [
        f"DATASETS.ROOT={root}",
        "DATASETS.TRAIN=('images/train:labels/train',)",
        "DATASETS.TEST=('images/val:labels/val',)",
        "DATASETS.LAYOUT=folders",
        f"DATASETS.CLASSES={CLASSES}",
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES=3",
        "MODEL.WEIGHTS=random",
        "INPUT.MIN_SIZE_TRAIN=(64,)",
        "INPUT.MIN_SIZE_TEST=64",
        "INPUT.CROP.SIZE=[64,64]",
        "TEST.PRECISE_BN.NUM_ITER=1",
        "SOLVER.IMS_PER_BATCH=2",
        "SOLVER.MAX_ITER=2",
        "SOLVER.REFERENCE_WORLD_SIZE=0",
        "DATALOADER.NUM_WORKERS=0",
        *more,
    ]


def opened(root, scratch, *more):
    cfg = load.load_config(MINI, tiny(root, *more))
    scale.fit_to_machine(cfg, 1)
    return cfg, catalog.open_datasets(cfg, scratch)


def test_palette_labels_are_class_indices_where_detectron2_reads_colours(folders, tmp_path):
    from detectron2.data import DatasetMapper

    cfg, data = opened(folders, tmp_path, "INPUT.CROP.ENABLED=False", "INPUT.RANDOM_FLIP=none")
    record = data.readings[data.train[0]].records[0]
    expected = np.array(Image.open(record["sem_seg_file_name"]))
    mapped = SemanticMapper(cfg, True)(record)
    assert np.array_equal(mapped["sem_seg"].numpy(), expected) and mapped["image"].shape == (3, SIDE, SIDE)
    theirs = DatasetMapper(cfg, True)(record)["sem_seg"].numpy()
    assert not np.array_equal(theirs, expected)  # if this ever fails, our mapper has become superfluous


def test_an_image_smaller_than_its_crop_gets_a_margin_that_is_ignored(folders, tmp_path):
    cfg, data = opened(folders, tmp_path, "INPUT.CROP.SIZE=[96,96]", "INPUT.RANDOM_FLIP=none")
    mapped = SemanticMapper(cfg, True)(data.readings[data.train[0]].records[0])
    assert mapped["image"].shape == (3, 96, 96) and mapped["sem_seg"].shape == (96, 96)
    assert (mapped["sem_seg"][SIDE:] == 255).all() and (mapped["sem_seg"][:, SIDE:] == 255).all()


class Oracle(torch.nn.Module):
    """Knows the labels, and says something wrong where they are ignored, or wrong everywhere."""

    def __init__(self, wrong=0):
        super().__init__()
        self.wrong = wrong

    def forward(self, batch):
        outputs = []
        for sample in batch:
            folder = Path(sample["file_name"].replace("/images/", "/labels/")).with_suffix(".png")
            labels = torch.from_numpy(np.array(Image.open(folder)).astype(np.int64))
            labels = (labels.where(labels != 255, torch.ones_like(labels)) + self.wrong) % 3
            outputs.append({"sem_seg": torch.nn.functional.one_hot(labels, 3).permute(2, 0, 1).float()})
        return outputs


def test_images_without_a_labelled_pixel_teach_nothing_and_are_told(folders, tmp_path):
    for split in ("train", "val"):
        Image.new("L", (SIDE, SIDE), 255).save(folders / "labels" / split / "town" / "0.png")
    cfg, data = opened(folders, tmp_path)
    assert data.counts()["unlabelled"] == 2 and data.counts()["train"] == 3
    measured = measure.measure_split(cfg, Oracle(), data.test, tmp_path)
    assert measured.metrics == pytest.approx(dict.fromkeys(measured.metrics, 100))


@pytest.mark.parametrize(
    ("name", "picture", "sentence"),
    [
        ("labels/val/town/0.png", Image.new("I;16", (SIDE, SIDE), 1), "not a palette or grey of 8 bits"),
        ("labels/val/town/0.png", Image.new("L", (SIDE, SIDE), 7), "holds label 7"),
        ("labels/val/town/0.png", Image.new("L", (9, 9)), "make them equal"),
        ("images/val/town/0.bmp", Image.new("RGB", (SIDE, SIDE)), "the same name but for the ending"),
        ("images/val/town/extra.bmp", Image.new("RGB", (SIDE, SIDE)), "lacks 1 of the images"),
    ],
)
def test_labels_that_do_not_fit_their_images_are_told(folders, tmp_path, name, picture, sentence):
    picture.save(folders / name)
    with pytest.raises(UserError, match=sentence):
        opened(folders, tmp_path)


def a_huge_png(side):
    """A PNG of a few bytes that states so many pixels on either side."""
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(100_000))
    chunks = [
        struct.pack(">I", len(one) - 4) + one + struct.pack(">I", zlib.crc32(one)) for one in (header, data, b"IEND")
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_a_picture_that_states_more_pixels_than_memory_holds_is_told(folders, tmp_path):
    (folders / "labels" / "val" / "town" / "0.png").write_bytes(a_huge_png(1_000_000))
    with pytest.raises(UserError, match="cannot be read as a label image"):
        opened(folders, tmp_path)
    (folders / "labels" / "val" / "town" / "0.png").unlink()
    (folders / "images" / "val" / "town" / "0.jpg").unlink()
    (folders / "images" / "train" / "town" / "0.jpg").write_bytes(a_huge_png(1_000_000))
    assert opened(folders, tmp_path)[1].counts()["skipped"] == 1


def test_hidden_files_are_no_images(folders, tmp_path):
    for name in ("images/val/town/._0.jpg", "labels/val/.hidden/1.png"):
        (folders / name).parent.mkdir(exist_ok=True)
        (folders / name).write_bytes(b"of macOS")
    assert opened(folders, tmp_path)[1].counts()["val"] == 4


def test_no_name_in_a_list_leads_to_labels_outside_the_folder(tmp_path):
    from helpers.escapes import ESCAPES

    lists = tmp_path / "voc" / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for name in set(ESCAPES) - {".."}:  # with its ending, "...png" is a name like any other
        (lists / "train.txt").write_text(name)
        more = ["DATASETS.LAYOUT=voc", "DATASETS.TRAIN=('voc/train',)", "DATASETS.TEST=('voc/train',)"]
        with pytest.raises(UserError, match="holds the name"):
            opened(tmp_path, tmp_path / "scratch", *more)


def test_perfect_labels_have_iou_100_and_ignored_pixels_do_not_count(folders, tmp_path):
    cfg, data = opened(folders, tmp_path)
    measured = measure.measure_split(cfg, Oracle(), data.test, tmp_path)
    assert measured.metrics == pytest.approx({"mIoU": 100, "fwIoU": 100, "mACC": 100, "pACC": 100})
    assert measured.by_class == {"iou": pytest.approx(dict.fromkeys(CLASSES, 100))}
    assert measure.measure_split(cfg, Oracle(wrong=1), data.test, tmp_path).metrics["mIoU"] == 0


def spoil(root, kind):
    first = root / "labels" / "train" / "town" / "0.png"
    if kind == "label":
        first.unlink()
    elif kind == "image":
        (root / "images" / "train" / "town" / "0.jpg").unlink()
    elif kind == "value":
        Image.fromarray(np.full((SIDE, SIDE), 7, dtype=np.uint8)).save(first)
    elif kind == "colours":
        Image.new("RGB", (SIDE, SIDE)).save(first)
    elif kind == "size":
        Image.new("L", (SIDE, SIDE - 1)).save(first)
    elif kind == "folder":
        shutil.rmtree(root / "labels" / "train")
    elif kind == "empty":
        for kind_of in ("images", "labels"):
            shutil.rmtree(root / kind_of / "train" / "town")


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("label", "lacks 1 of the images of"),
        ("image", "lacks 1 of the images of"),
        ("value", "holds label 7, but DATASETS.CLASSES lists 3 classes"),
        ("colours", "its mode is RGB"),
        ("size", "make them equal"),
        ("folder", "does not exist"),
        ("empty", "holds no image"),
    ],
)
def test_labels_that_do_not_fit_are_told_in_one_sentence(folders, tmp_path, kind, sentence):
    spoil(folders, kind)
    with pytest.raises(UserError) as caught:
        opened(folders, tmp_path)
    assert sentence in str(caught.value)


def test_the_voc_layout_takes_the_augmented_labels_where_a_list_needs_them(folders, tmp_path):
    voc = tmp_path / "VOC2012"
    (voc / "ImageSets" / "Segmentation").mkdir(parents=True)
    shutil.copytree(folders / "images" / "train" / "town", voc / "JPEGImages")
    shutil.copytree(folders / "labels" / "train" / "town", voc / "SegmentationClass")
    (voc / "SegmentationClass" / "3.png").unlink()
    (voc / "ImageSets" / "Segmentation" / "trainaug.txt").write_text("0\n1\n2\n3\n")
    (voc / "ImageSets" / "Segmentation" / "val.txt").write_text("0\n1\n")
    names = ("DATASETS.TRAIN=('voc_2012_trainaug',)", "DATASETS.TEST=('voc_2012_val',)", f"DATASETS.ROOT={tmp_path}")
    with pytest.raises(UserError, match="have no complete labels in .*SegmentationClassAug"):
        opened(folders, tmp_path, "DATASETS.LAYOUT=voc", *names)
    shutil.copytree(folders / "labels" / "train" / "town", voc / "SegmentationClassAug")
    _, data = opened(folders, tmp_path, "DATASETS.LAYOUT=voc", *names)
    assert data.counts() == {"train": 4, "val": 2, "classes": 3, "skipped": 0}


def test_a_run_trains_measures_draws_and_starts_from_the_whole_trunk(folders, tmp_path):
    export = save_trunk(tmp_path / "trunk.pth", random_trunk("resnet18"), "resnet18", step=7)
    out = tmp_path / "run"
    result = train.train_detector(load.load_config(MINI, tiny(folders, f"MODEL.WEIGHTS={export}")), out, drawn=2)
    assert results.load(out / "result.json") == result
    assert result.task == "semantic" and set(result.metrics) == {"mIoU", "fwIoU", "mACC", "pACC"}
    assert result.counts == {"train": 4, "val": 4, "classes": 3, "skipped": 0}
    assert result.protocol.endswith("mean IoU") and len(result.artefacts["images"]) == 2
    assert all((out / name).is_file() for name in result.artefacts["images"])


def test_deeplab_takes_a_whole_torchvision_trunk_and_learns_from_it(folders, tmp_path):
    """The stem is torchvision's, res5 is dilated: the same tensors, other strides."""
    from detectron2.modeling import build_model

    export = save_trunk(tmp_path / "trunk.pth", random_trunk("resnet50"), "resnet50")
    cfg = load.load_config(DEEPLAB, tiny(folders, f"MODEL.WEIGHTS={export}", "MODEL.SEM_SEG_HEAD.CONVS_DIM=16"))
    scale.fit_to_machine(cfg, 1)
    model = build_model(cfg)
    weights.fill_detector(model, weights.read_weights(cfg, tmp_path))
    data = catalog.open_datasets(cfg, tmp_path)
    mapper = SemanticMapper(cfg, True)
    losses = model([mapper(record) for record in data.readings[data.train[0]].records[:2]])
    assert torch.isfinite(losses["loss_sem_seg"])
    losses["loss_sem_seg"].backward()
    assert model.backbone.stem.conv1.weight.grad.abs().sum() > 0
    with pytest.raises(UserError, match="has bottleneck blocks only"):
        small = ("MODEL.RESNETS.DEPTH=18", "MODEL.RESNETS.RES2_OUT_CHANNELS=64")
        load.load_config(DEEPLAB, tiny(folders, *small))


def test_the_fcn_reads_a_dilated_res5_at_stride_16_and_is_two_dilated_convolutions_and_a_classifier(folders, tmp_path):
    """Scores and loss are those of torch's own operations on the trunk's last map."""
    from detectron2.modeling import build_model

    export = save_trunk(tmp_path / "trunk.pth", random_trunk("resnet50"), "resnet50")
    cfg = load.load_config(FCN, tiny(folders, f"MODEL.WEIGHTS={export}", "MODEL.SEM_SEG_HEAD.CONVS_DIM=8"))
    scale.fit_to_machine(cfg, 1)
    model = build_model(cfg)
    weights.fill_detector(model, weights.read_weights(cfg, tmp_path))
    head, images = model.sem_seg_head, torch.randn(2, 3, 64, 80, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, 3, (2, 64, 80), generator=torch.Generator().manual_seed(1))
    labels[:, :9] = 255
    trunk = torchvision.models.resnet50(weights=None, replace_stride_with_dilation=[False, False, True])
    trunk.load_state_dict(torch.load(export, weights_only=True)["state_dict"], strict=False)
    # torchvision leaves the first block of a dilated stage undilated, detectron2 dilates every block
    trunk.layer4[0].conv2.dilation, trunk.layer4[0].conv2.padding = (2, 2), (2, 2)
    stages = nn.Sequential(*list(trunk.children())[:-2]).eval()
    model.eval()
    with torch.no_grad():
        features = model.backbone(images)
        assert features["res5"].shape == (2, 2048, 4, 5)
        torch.testing.assert_close(features["res5"], stages(images), rtol=1e-4, atol=1e-4)
        rows = features["res5"]
        for convolution in head.convolutions:
            norm = convolution.norm
            rows = functional.conv2d(rows, convolution.weight, padding=6, dilation=6)
            rows = functional.batch_norm(
                rows, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
            )
            rows = rows.clamp_min(0)
        rows = functional.conv2d(rows, head.predictor.weight, head.predictor.bias)
        expected = functional.interpolate(rows, size=(64, 80), mode="bilinear")
        scores, none = head(features)
        torch.testing.assert_close(scores, expected, rtol=1e-5, atol=1e-5)
        shares = expected.double().log_softmax(1).gather(1, labels.clamp_max(2)[:, None])[:, 0]
        (loss,) = head(features, labels)[1].values()
    assert not none and float(loss) == pytest.approx(-shares[labels < 255].mean().item(), rel=1e-5)
    model.train()
    data = catalog.open_datasets(cfg, tmp_path)
    mapper = SemanticMapper(cfg, True)
    model([mapper(record) for record in data.readings[data.train[0]].records[:2]])["loss_sem_seg"].backward()
    assert model.backbone.stem.conv1.weight.grad.abs().sum() > 0


def test_a_segmenter_trains_over_a_network_of_timm(folders, tmp_path):
    pytest.importorskip("timm")
    cfg = load.load_config(MINI, tiny(folders, "MODEL.BACKBONE.ARCH=timm/test_resnet"))
    result = train.train_detector(cfg, tmp_path / "run", drawn=1)
    assert result.task == "semantic" and result.arch == "timm/test_resnet" and "mIoU" in result.metrics
    with pytest.raises(UserError, match="MODEL.BACKBONE.NAME='build_resnet_deeplab_backbone' is none"):
        load.load_config(DEEPLAB, tiny(folders, "MODEL.BACKBONE.ARCH=timm/test_resnet"))
