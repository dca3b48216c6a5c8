"""Detection settings: each family keeps its field's values, and what cannot work is refused in one sentence."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("detectron2")

from helpers import tool_process
from helpers.detection_samples import C4, CONFIGS, FPN, ROOT, tiny
from pretrain.runtime.errors import UserError
from transfer.detection.config import load, scale
from transfer.detection.data.formats import all_formats
from transfer.detection.evaluation.evaluators import all_evaluators, evaluators_for
from transfer.detection.tasks import architectures

ALL = sorted(path for path in CONFIGS.rglob("*.yaml") if not path.name.startswith("Base"))
VOC, COCO = CONFIGS / "c4" / "voc_r50_c4_24k.yaml", CONFIGS / "fpn" / "coco_mask_rcnn_r50_fpn_1x.yaml"


def flat(tree, prefix=""):
    found = {}
    for key, value in tree.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_every_configuration_feeds_the_trunk_what_it_was_trained_on(path):
    cfg = load.load_config(path, ["MODEL.WEIGHTS=random"])
    assert (cfg.INPUT.FORMAT, cfg.MODEL.RESNETS.STRIDE_IN_1X1, cfg.MODEL.BACKBONE.FREEZE_AT) == ("RGB", False, 0)
    # torchvision.transforms' ImageNet statistics times 255, as MoCo's and TWIST's configurations write them
    assert list(cfg.MODEL.PIXEL_MEAN) == [123.675, 116.280, 103.530]
    assert list(cfg.MODEL.PIXEL_STD) == [58.395, 57.120, 57.375]
    assert cfg.TEST.PRECISE_BN.ENABLED
    assert path.read_text().startswith("# ")
    assert "python" in path.read_text().split("_BASE_")[0] or "torchrun" in path.read_text().split("_BASE_")[0]


SHORT_SIDES = (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)
# facebookresearch/moco, detection/configs: Base-RCNN-C4-BN.yaml, pascal_voc_R_50_C4_24k{,_moco}.yaml
MOCO = {
    "MODEL.META_ARCHITECTURE": "GeneralizedRCNN",
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 6000,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 1000,
    "MODEL.ROI_HEADS.NAME": "Res5ROIHeadsExtraNorm",
    "MODEL.ROI_HEADS.NUM_CLASSES": 20,
    "MODEL.MASK_ON": False,
    "SOLVER.IMS_PER_BATCH": 16,
    "SOLVER.BASE_LR": 0.02,
    "INPUT.MIN_SIZE_TRAIN": SHORT_SIDES,
    "INPUT.MIN_SIZE_TEST": 800,
    "DATASETS.TRAIN": ("voc_2007_trainval", "voc_2012_trainval"),
    "DATASETS.TEST": ("voc_2007_test",),
    "SOLVER.STEPS": (18000, 22000),
    "SOLVER.MAX_ITER": 24000,
    "SOLVER.WARMUP_ITERS": 100,
}
# bytedance/TWIST, detection; RPN and anchors from detectron2's Base-RCNN-FPN.yaml
TWIST = {
    "MODEL.MASK_ON": True,
    "MODEL.RESNETS.NORM": "SyncBN",
    "MODEL.FPN.NORM": "SyncBN",
    "MODEL.ROI_BOX_HEAD.NAME": "FastRCNNConvFCHead",
    "MODEL.ROI_BOX_HEAD.NUM_CONV": 4,
    "MODEL.ROI_BOX_HEAD.NUM_FC": 1,
    "MODEL.ROI_BOX_HEAD.NORM": "SyncBN",
    "MODEL.ROI_MASK_HEAD.NORM": "SyncBN",
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": 2000,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": 1000,
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": 1000,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 1000,
    "SOLVER.IMS_PER_BATCH": 16,
    "SOLVER.BASE_LR": 0.02,
    "SOLVER.STEPS": (60000, 80000),
    "SOLVER.MAX_ITER": 90000,
    "INPUT.MIN_SIZE_TRAIN": (640, 672, 704, 736, 768, 800),
}


@pytest.mark.parametrize(("path", "expected"), [(VOC, MOCO), (COCO, TWIST)], ids=["moco", "twist"])
def test_the_benchmarks_have_the_fields_values(path, expected):
    cfg = flat(load.load_config(path, ["MODEL.WEIGHTS=random"]))
    assert {key: cfg[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("ours", "name"), [(VOC, "Base-RCNN-C4.yaml"), (COCO, "Base-RCNN-FPN.yaml")], ids=["c4", "fpn"]
)
def test_what_no_ssl_paper_changes_is_as_in_detectron2s_own_base(ours, name):
    import detectron2
    from detectron2.config import CfgNode

    zoo = Path(detectron2.__file__).parent / "model_zoo" / "configs" / name
    if not zoo.is_file():
        pytest.skip("this detectron2 was installed without its model zoo")
    cfg = flat(load.load_config(ours, ["MODEL.WEIGHTS=random"]))
    theirs = {key: value for key, value in flat(CfgNode.load_yaml_with_base(str(zoo))).items() if "MODEL." in key}
    changed = {key for key, value in theirs.items() if cfg[key] != value}
    assert changed == ({"MODEL.ROI_HEADS.NAME"} if ours == VOC else {"MODEL.ROI_BOX_HEAD.NUM_FC"})


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("MODEL.RESNETS.DEPHT=18", "did you mean 'MODEL.RESNETS.DEPTH'"),
        ("SOLVER.MAXITER=5", "did you mean 'SOLVER.MAX_ITER'"),
        ("MODEL=5", "there is no option 'MODEL'"),
        ("DATASET.ROOT=x", "did you mean 'DATASETS.ROOT'"),
        ("SOLVER.MAX_ITER=many", "'SOLVER.MAX_ITER' has the wrong type: 'many' is no int"),
        ("SOLVER.MAX_ITER", "is not of the form A.B=value"),
        ("MODEL.RESNETS.DEPTH=20", "is not one of (18, 34, 50, 101, 152)"),
        ("MODEL.RESNETS.RES2_OUT_CHANNELS=256", "does not fit a ResNet-18: set it to 64"),
        ("MODEL.WEIGHTS=", "MODEL.WEIGHTS is empty"),
        ("SEED=-1", "SEED=-1 is out of range"),
        ("DATASETS.LAYOUT=lmdb", "is not one of coco, lvis, voc, the formats of a GeneralizedRCNN's data"),
        ("MODEL.MASK_ON=True", "needs masks, which the format voc does not hold: set DATASETS.LAYOUT to coco or lvis"),
        ("DATASETS.TEST=()", "DATASETS.TEST exactly one"),
    ],
)
def test_a_wrong_option_is_told_in_one_sentence(override, sentence, tmp_path):
    with pytest.raises(UserError) as caught:
        load.load_config(C4, [*tiny(C4, tmp_path), override])
    assert sentence in str(caught.value)


def test_a_number_is_a_float_where_one_is_wanted(tmp_path):
    assert load.load_config(C4, [*tiny(C4, tmp_path), "SOLVER.BASE_LR=1"]).SOLVER.BASE_LR == 1.0
    assert load.load_config(C4, [*tiny(C4, tmp_path), "SOLVER.BASE_LR=1e-3"]).SOLVER.BASE_LR == 1e-3


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("_BASE_: absent.yaml\n", "absent.yaml"),
        ("MODEL: [1\n", "is not a valid YAML"),
        ("MODEL:\n  RESNET:\n    DEPTH: 18\n", "did you mean 'MODEL.RESNETS.DEPTH'"),
        ("SOLVER:\n  MAX_ITER: 1.5\n", "wrong type: 1.5 is no int"),
        ("", "is not a valid YAML"),
        ("_BASE_: [[]]\n", "_BASE_ is a list"),
        ("_BASE_:\n", "_BASE_ is None"),
        ("_BASE_: wrong.yaml\n", "names itself by way of _BASE_"),
        ("_BASE_: ['']\n", "give the path of a YAML"),
        ("? [a]\n: 1\n", "is not a valid YAML"),
    ],
)
def test_a_wrong_file_is_told_in_one_sentence(tmp_path, text, sentence):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load.load_config(path)
    assert sentence in str(caught.value)


def test_random_weights_must_be_asked_for():
    with pytest.raises(UserError, match="or 'random' for a randomly initialised one"):
        load.load_config(VOC)


def test_a_cpu_gets_norms_it_can_run(tmp_path):
    alone = load.load_config(COCO, ["MODEL.WEIGHTS=random", "MODEL.DEVICE=cpu", "SOLVER.AMP.ENABLED=True"])
    together = alone.clone()
    assert len(scale.fit_to_machine(alone, 1)) == 3  # and the schedule
    scale.fit_to_machine(together, 2)
    before = flat(load.load_config(COCO, ["MODEL.WEIGHTS=random"]))
    changed = [key for key in scale.NORM_KEYS if before[key] == "SyncBN"]
    assert len(changed) == 4 and "SyncBN" not in {flat(alone)[key] for key in scale.NORM_KEYS}
    assert {flat(alone)[key] for key in changed} == {"BN"}
    assert {flat(together)[key] for key in changed} == {"naiveSyncBN"}
    together.SOLVER.REFERENCE_WORLD_SIZE = 0
    with pytest.raises(UserError, match="cannot be shared equally by 3 processes"):
        scale.fit_to_machine(together, 3)


def test_the_protocol_tells_every_override_that_decides_the_number(tmp_path):
    plain = load.protocol_name(load.load_config(VOC, ["MODEL.WEIGHTS=random"]))
    assert plain.startswith("Faster R-CNN C4 with an extra norm after res5 (MoCo)")
    assert "24000 iterations of 16 images" in plain and "480-800" in plain and "VOC07 AP" in plain
    for override in ("SOLVER.MAX_ITER=10", "INPUT.MIN_SIZE_TEST=100", "SOLVER.BASE_LR=0.1", "DATASETS.EVALUATOR=coco"):
        assert load.protocol_name(load.load_config(VOC, ["MODEL.WEIGHTS=random", override])) != plain
    assert "COCO AP" in load.protocol_name(load.load_config(FPN, ["MODEL.WEIGHTS=random"]))


def run(*arguments):
    return tool_process.run([sys.executable, ROOT / "tools" / "train_detection.py", *arguments])


def test_the_tool_ends_on_bad_input_with_one_sentence_and_code_2(tmp_path):
    done = run("--config", C4, "--out", tmp_path / "run", *tiny(C4, tmp_path), "SOLVER.MAX_ITR=3")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("error: override 'SOLVER.MAX_ITR=3'")
    assert "Traceback" not in done.stderr and not (tmp_path / "run").exists()


def test_without_detectron2_the_tool_names_the_command_that_installs_it(tmp_path):
    """A real process in which Python finds no detectron2, although this environment has one."""
    hidden = (
        "import importlib.util as u, sys\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'detectron2' else find(name, *rest)\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from pretrain.runtime.errors import run_tool\n"
        "from tools import train_detection\n"
        f"run_tool(lambda: train_detection.main(['--config', {str(C4)!r}, '--out', {str(tmp_path)!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True)
    assert done.returncode == 2
    assert "python tools/install_detectron2.py" in done.stderr and "Traceback" not in done.stderr


def test_help_answers_without_torch_and_lists_formats_evaluators_and_keys():
    listing = "import sys; from tools import train_detection as tool\ntry: tool.main(['--help'])\nfinally: "
    listing += "assert not {'torch', 'detectron2'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    for word in ("MODEL.WEIGHTS=random", "  lvis  ", "  iou  ", "DATASETS.CLASSES=()", "(default 6)"):
        assert word in done.stdout


def test_every_format_has_an_evaluator_of_its_task_and_every_evaluator_a_format():
    judged = {name for one in all_formats() for name in evaluators_for(one)}
    assert judged == set(all_evaluators()) == {name for one in all_formats() for name in one.evaluators}
    assert {one.task for one in all_formats()} == {task.name for task in architectures().values()}
    assert all(evaluators_for(one) and one.help for one in all_formats())
