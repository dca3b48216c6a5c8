"""The other detectors of configs/detection on tiny sets: each trains from a whole trunk and is measured."""

import pytest

pytest.importorskip("detectron2")

from helpers.detection_samples import (
    CONFIGS,
    FPN,
    QUIET,
    one_class,
    random_trunk,
    save_trunk,
    tiny,
    with_keypoints,
    with_run_lengths,
    write_sets,
)
from transfer.detection import train
from transfer.detection.config import load

pytestmark = [*QUIET, pytest.mark.slow]
MASK_C4 = CONFIGS / "c4" / "coco_mini_mask_r18_c4_cpu.yaml"
CITYSCAPES = CONFIGS / "fpn" / "cityscapes_mask_rcnn_r50_fpn_24k.yaml"
RETINA = CONFIGS / "fpn" / "coco_mini_retinanet_r18_cpu.yaml"
KEYPOINTS = CONFIGS / "fpn" / "coco_keypoint_rcnn_r50_fpn_1x.yaml"
SMALL = ("MODEL.RESNETS.DEPTH=18", "MODEL.RESNETS.RES2_OUT_CHANNELS=64", "MODEL.FPN.OUT_CHANNELS=32")
THREE = ("MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS=3", "MODEL.ROI_KEYPOINT_HEAD.CONV_DIMS=(8,)")


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return save_trunk(tmp_path_factory.mktemp("export") / "trunk.pth", random_trunk("resnet18"), "resnet18", step=7)


def ran(config, sets, export, out, *more):
    here = ("DATASETS.TRAIN=('train2017',)", "DATASETS.TEST=('val2017',)", "SOLVER.REFERENCE_WORLD_SIZE=0")
    overrides = tiny(FPN, sets, export, *here, "DATALOADER.NUM_WORKERS=0", *more)
    return train.train_detector(load.load_config(config, overrides), out, drawn=1)


def test_mask_rcnn_c4_runs_and_is_measured_by_boxes_and_masks(tmp_path, export):
    result = ran(MASK_C4, write_sets(tmp_path / "sets"), export, tmp_path / "run")
    assert result.task == "segmentation" and {"bbox_AP", "segm_AP75"} <= set(result.metrics)
    assert result.protocol.startswith("Mask R-CNN C4")


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable:UserWarning")  # detectron2's
def test_cityscapes_masks_are_run_length_coded_and_train(tmp_path, export):
    sets = write_sets(tmp_path / "sets")
    with_run_lengths(sets)
    chosen = (*SMALL, "DATASETS.CLASSES=()", "MODEL.ROI_MASK_HEAD.CONV_DIM=8", "MODEL.ROI_MASK_HEAD.NUM_CONV=1")
    result = ran(CITYSCAPES, sets, export, tmp_path / "run", *chosen)
    assert {"bbox_AP", "segm_AP"} <= set(result.metrics) and result.dataset == "Cityscapes"


def test_retinanet_runs_and_is_measured_by_boxes(tmp_path, export):
    chosen = ("MODEL.RETINANET.NUM_CLASSES=2",)
    result = ran(RETINA, write_sets(tmp_path / "sets"), export, tmp_path / "run", *chosen)
    assert result.task == "detection" and set(result.metrics) == {"bbox_AP", "bbox_AP50", "bbox_AP75"}
    assert "RoIs" not in result.protocol


@pytest.mark.filterwarnings("ignore:Creating a tensor from a list of numpy.ndarrays:UserWarning")  # detectron2's
def test_keypoint_rcnn_runs_and_is_measured_by_keypoints(tmp_path, export):
    sets = write_sets(tmp_path / "sets")
    one_class(sets)
    with_keypoints(sets)
    chosen = ("DATASETS.CLASSES=()", "MODEL.ROI_HEADS.NUM_CLASSES=1", "TEST.KEYPOINT_OKS_SIGMAS=[0.03,0.03,0.03]")
    result = ran(KEYPOINTS, sets, export, tmp_path / "run", *chosen, *SMALL, *THREE)
    assert {"bbox_AP", "keypoints_AP", "keypoints_AP50"} <= set(result.metrics)
