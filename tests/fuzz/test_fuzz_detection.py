"""Damaged detection data of either layout: a perfect detector reaches AP 100, or they are refused in one sentence."""

import functools
import json
from xml.etree import ElementTree

import pytest

pytest.importorskip("detectron2")

from hypothesis import strategies as st

from helpers.damaged import a_changed_tree, damaged_bytes
from helpers.detection_oracle import perfect_metrics
from helpers.detection_samples import C4, FPN, QUIET, one_class, tiny, with_keypoints, write_sets
from helpers.escapes import ESCAPES
from helpers.fuzzing import outcome, search
from pretrain.runtime.errors import UserError
from transfer.detection import catalog
from transfer.detection.config import load

pytestmark = [*QUIET, pytest.mark.slow]
OWN = ("DATASETS.CLASSES=()", "MODEL.ROI_HEADS.NUM_CLASSES=0")
POINTS = ("MODEL.MASK_ON=False", "MODEL.KEYPOINT_ON=True", "MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS=3")
POINTS += ("TEST.KEYPOINT_OKS_SIGMAS=[0.1,0.1,0.1]", *OWN)
ON_VAL = "DATASETS.TRAIN=('val',)"  # so that the damaged split is trained and measured on


@pytest.fixture
def sets(tmp_path):
    return write_sets(tmp_path / "sets")


def perfect_or_refused(config, sets, *more):
    """Open the sets; where they are accepted, a detector that knows the records misses nothing."""
    cfg = load.load_config(config, tiny(config, sets, "random", *more))
    scratch = sets.parent / "scratch"
    data = outcome(lambda: catalog.open_datasets(cfg, scratch), sets)
    if not isinstance(data, UserError):
        assert all(note.isprintable() for note in data.notes())
        metrics = perfect_metrics(cfg, data, scratch)
        found = {name: value for name, value in metrics.items() if name[-3:] not in ("APr", "APc", "APf")}
        assert found == pytest.approx(dict.fromkeys(found, 100)), data.notes()


@pytest.mark.parametrize("masks", [True, False], ids=["masks", "boxes"])
def test_a_damaged_coco_json_is_right_or_refused(sets, masks):
    path = sets / "coco" / "annotations" / "instances_val2017.json"
    plain = path.read_bytes()
    trees = a_changed_tree(json.loads(plain)).map(lambda tree: json.dumps(tree).encode())
    own = ("DATASETS.TRAIN=('val2017',)", *OWN)

    def check(content):
        path.write_bytes(content)
        perfect_or_refused(FPN, sets, f"MODEL.MASK_ON={masks}", "INPUT.MASK_FORMAT=bitmask", *own)

    check(plain)
    search(check, 35, content=st.one_of(trees, trees, trees, damaged_bytes(plain)))


def test_damaged_keypoints_are_right_or_refused(sets):
    one_class(sets)
    with_keypoints(sets)
    path = sets / "coco" / "annotations" / "instances_val2017.json"
    plain = path.read_bytes()
    tree = json.loads(plain)
    points = a_changed_tree([one["keypoints"] for one in tree["annotations"]])
    trees = st.one_of(points.map(functools.partial(with_points, tree)), a_changed_tree(tree))

    def check(changed):
        path.write_text(json.dumps(changed))
        perfect_or_refused(FPN, sets, "DATASETS.TRAIN=('val2017',)", *POINTS)

    check(tree)
    search(check, 30, changed=trees)


def with_points(tree, points):
    """The tree whose first objects have the given keypoints."""
    objects = [one | {"keypoints": given} for one, given in zip(tree["annotations"], points, strict=False)]
    return tree | {"annotations": objects + tree["annotations"][len(objects) :]}


def test_a_damaged_lvis_json_is_right_or_refused(sets):
    path = sets / "coco" / "annotations" / "instances_val2017.json"
    tree = json.loads(path.read_bytes())
    for image in tree["images"]:
        image["coco_url"] = f"http://images.cocodataset.org/val2017/{image['file_name']}"
        image |= {"neg_category_ids": [], "not_exhaustive_category_ids": [tree["categories"][0]["id"]]}
    entry = "('annotations/instances_val2017.json:.',)"
    lvis = ("DATASETS.LAYOUT=lvis", "DATASETS.EVALUATOR=lvis", f"DATASETS.TRAIN={entry}", f"DATASETS.TEST={entry}")

    def check(changed):
        path.write_text(json.dumps(changed))
        perfect_or_refused(FPN, sets, "INPUT.MASK_FORMAT=bitmask", *OWN, *lvis)

    check(tree)
    search(check, 20, changed=a_changed_tree(tree))


def xml_of(tree):
    """The XML of {"annotation": tree}: a list is an element for each entry, anything else that is no table a text."""

    def add(above, key, value):
        for one in value if isinstance(value, list) else [value]:
            element = ElementTree.SubElement(above, key if str(key).isalpha() else "odd")
            if isinstance(one, dict):
                for inner, below in one.items():
                    add(element, inner, below)
            elif one is not None:
                element.text = "".join(sign for sign in str(one) if sign.isprintable() and ord(sign) < 0xD800)

    root = ElementTree.Element("annotation")
    for key, value in tree.items():
        add(root, key, value)
    return ElementTree.tostring(root)


def tree_of(path):
    """What `xml_of` takes, of an annotation as the tool writes it."""
    root = ElementTree.parse(path).getroot()
    boxes = [
        {one.tag: ({side.tag: float(side.text) for side in one} if len(one) else one.text) for one in element}
        for element in root.iterfind("object")
    ]
    return {"filename": root.findtext("filename"), "size": {"width": 64, "height": 64, "depth": 3}, "object": boxes}


def test_a_damaged_voc_annotation_is_right_or_refused_by_both_evaluators(sets):
    names = (sets / "voc" / "ImageSets" / "Main" / "val.txt").read_text().split()
    path = sets / "voc" / "Annotations" / f"{names[0]}.xml"
    plain, tree = path.read_bytes(), tree_of(path)

    def check(content):
        path.write_bytes(content)
        perfect_or_refused(C4, sets, "DATASETS.EVALUATOR=voc", ON_VAL)

    check(xml_of(tree))
    search(check, 40, content=st.one_of(a_changed_tree(tree).map(xml_of), damaged_bytes(plain)))


def test_a_damaged_list_of_images_is_right_or_refused(sets):
    path = sets / "voc" / "ImageSets" / "Main" / "val.txt"
    plain = path.read_bytes()
    sound = plain.decode().split()
    names = st.sampled_from([*sound, *ESCAPES, "", " ", "ä", "a b", "500001 -1", "\x00", "n" * 5000])
    right = st.lists(st.sampled_from([*sound, *(f"{name} -1" for name in sound), ""]), min_size=1, unique=True)
    lines = st.one_of(right, st.lists(names, max_size=5)).map("\r\n".join)
    texts = st.builds(str.encode, lines, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]))

    def check(content):
        path.write_bytes(content)
        perfect_or_refused(C4, sets, ON_VAL)

    search(check, 30, content=st.one_of(texts, damaged_bytes(plain)))
