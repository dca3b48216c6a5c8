"""The same of VOC folders, and of the images and names of both."""

import pytest

pytest.importorskip("detectron2")

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from PIL import Image

from helpers.detection_changes import in_json, in_xml, of_objects, opened, put, without
from helpers.detection_oracle import perfect_metrics
from helpers.detection_samples import C4, FPN, QUIET, SIZE
from pretrain.runtime.errors import UserError

pytestmark = QUIET
BY_VOC = "DATASETS.EVALUATOR=voc"


def decimals(one):
    for side in one.find("bndbox"):
        side.text = str(float(side.text) + 0.25)


VOC_MENDED = {
    "as written": lambda root: None,
    "decimals": of_objects(decimals),
    "no pose": without("pose"),
    "no difficult": without("difficult"),
    "no truncated": without("truncated"),
    "white space in a name": of_objects(lambda one: put("name", f"\n {one.findtext('name')}\n")(one)),
    "a box without area": lambda root: put("bndbox/xmax", root.findtext("object/bndbox/xmin"))(root.find("object")),
    "a box reaching out": lambda root: put("bndbox/xmax", "90")(root.find("object")),
    "an object twice": lambda root: root.append(root.find("object")),
    "a difficult object": lambda root: put("difficult", "1")(root.find("object")),
    "no size": lambda root: root.remove(root.find("size")),
    "size 0": lambda root: [put("width", "0")(root.find("size")), put("height", "0")(root.find("size"))],
}


@pytest.mark.parametrize("case", VOC_MENDED)
def test_both_evaluators_of_a_voc_folder_see_the_records_that_were_trained_on(sets, case):
    in_xml(sets, VOC_MENDED[case])
    for evaluator in (BY_VOC, "DATASETS.EVALUATOR=coco"):
        cfg, data = opened(C4, sets, evaluator)
        metrics = perfect_metrics(cfg, data, sets.parent / "scratch")
        assert metrics == pytest.approx(dict.fromkeys(("bbox_AP", "bbox_AP50", "bbox_AP75"), 100))


@pytest.mark.parametrize("year", ["voc", "VOC2012"])
def test_ap_by_the_rules_of_voc_is_what_detectron2_computes_on_a_clean_folder(sets, year):
    """Random boxes near the objects, some of them marked difficult, under both of VOC's rules for AP."""
    from detectron2.evaluation import PascalVOCDetectionEvaluator
    from detectron2.structures import Boxes, Instances

    from transfer.detection.evaluation.voc_ap import CheckedVOCEvaluator

    in_xml(
        sets, lambda root: put("difficult", "1")(root.findall("object")[-1]) if len(root.findall("object")) > 2 else 0
    )
    if year == "VOC2012":
        (sets / "voc").rename(sets / year)
    _, data = opened(C4, sets, BY_VOC, f"DATASETS.ROOT={sets / year}")
    MetadataCatalog.get(data.test).set(dirname=str(sets / year), split="val")
    judges = [CheckedVOCEvaluator(data.test), PascalVOCDetectionEvaluator(data.test)]
    generator = np.random.default_rng(0)
    for judge in judges:
        judge.reset()
    for record in data.readings[data.test].records:
        found = Instances((SIZE, SIZE))
        boxes = np.array([one["bbox"] for one in record["annotations"]] * 4, dtype=np.float32)
        found.pred_boxes = Boxes(torch.from_numpy(boxes + generator.normal(0, 1, boxes.shape).astype(np.float32)))
        found.scores = torch.from_numpy(generator.random(len(boxes)))
        found.pred_classes = torch.tensor([one["category_id"] for one in record["annotations"]] * 4)
        for judge in judges:
            judge.process([record], [{"instances": found}])
    ours, theirs = (judge.evaluate()["bbox"] for judge in judges)
    assert 5 < theirs["AP"] < 95 and ours == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda root: put("width", "160")(root.find("size")), "says that its image is (160, 64)"),
        (lambda root: put("width", "wide")(root.find("size")), "no finite number"),
        (of_objects(put("difficult", "perhaps")), "difficult is 'perhaps'"),
        (of_objects(put("bndbox/xmin", "nan")), "no finite number"),
        (without("bndbox"), "no finite number"),
        (without("name"), "has no name"),
        (lambda root: setattr(root, "tag", "html"), "outermost element is <html>"),
    ],
)
def test_an_annotation_that_does_not_fit_its_image_is_told(sets, change, sentence):
    in_xml(sets, change)
    with pytest.raises(UserError) as caught:
        opened(C4, sets)
    assert sentence in str(caught.value)


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))


@pytest.mark.parametrize(
    "text",
    [
        f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]><annotation><object><name>&l11;</name></object></annotation>',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><object><name>&x;</name></object></annotation>',
        f"<annotation>{'<a>' * 2_000_000}",
        '<?xml version="1.0" encoding="of nobody"?><annotation/>',
        '<?xml version="1.0" encoding="shift_jis"?><annotation/>',
        "<html><body>log in</body></html>",
    ],
    ids=["entities", "another file", "large", "no encoding", "encoding", "page"],
)
def test_a_hostile_xml_is_told_before_it_costs_anything(sets, text):
    name = (sets / "voc" / "ImageSets" / "Main" / "val.txt").read_text().split()[0]
    (sets / "voc" / "Annotations" / f"{name}.xml").write_text(text)
    with pytest.raises(UserError, match="cannot be read as a VOC annotation") as caught:
        opened(C4, sets)
    assert "root:" not in str(caught.value)


def test_a_split_of_which_pascal_voc_counts_no_object_is_told(sets):
    in_xml(sets, of_objects(put("difficult", "1")))
    with pytest.raises(UserError, match="every object is marked difficult"):
        opened(C4, sets, BY_VOC)
    assert opened(C4, sets)[1].counts()["val_boxes"] > 0


# images and names


@pytest.mark.parametrize("bits", [16, 12])
def test_a_16_bit_image_is_scaled_to_8_by_the_bits_of_the_trunk_and_said(sets, bits):
    from detectron2.data.detection_utils import read_image

    first = sorted((sets / "voc" / "JPEGImages").glob("*.jpg"))[0]
    grey = np.asarray(Image.open(first).convert("L"))
    first.unlink()
    Image.fromarray(grey.astype(np.uint16) * 2 ** (bits - 8) + 7).save(first.with_suffix(".png"))
    _, data = opened(C4, sets, bits=bits)
    seen = read_image(data.readings[data.train[0]].records[0]["file_name"], "RGB")
    np.testing.assert_array_equal(seen, np.repeat(grey[:, :, None], 3, axis=2))
    assert data.counts()["deep"] == 1 and first.stem in "".join(data.notes())


def test_the_image_of_a_stem_is_the_one_that_the_annotation_names(sets):
    first = sorted((sets / "voc" / "JPEGImages").glob("*.jpg"))[0]
    Image.new("RGB", (SIZE, SIZE)).save(first.with_suffix(".bmp"))
    first.with_suffix(".json").write_text("{}")
    first.with_name(f"._{first.name}").write_bytes(b"of macOS")
    _, data = opened(C4, sets)
    assert data.readings[data.train[0]].records[0]["file_name"] == str(first)
    in_xml(sets, lambda root: root.remove(root.find("filename")), "train")
    with pytest.raises(UserError, match=r"is both 000001\.bmp and 000001\.jpg"):
        opened(C4, sets)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_lists_and_json_may_begin_with_a_mark_of_their_encoding(sets, encoding):
    for path in (sets / "voc/ImageSets/Main/val.txt", sets / "coco/annotations/instances_val2017.json"):
        path.write_bytes(path.read_text().replace("\n", "\r\n").encode(encoding))
    assert opened(C4, sets)[1].counts()["val"] == opened(FPN, sets)[1].counts()["val"] == 3


def test_names_of_splits_that_look_alike_do_not_collide(sets):
    lists = sets / "voc" / "ImageSets" / "Main"
    names = (lists / "train.txt").read_text().split()
    for name, part in (("a-b", names[:1]), ("a_b", names[1:2]), ("a b", names[2:])):
        (lists / f"{name}.txt").write_text("\n".join(part))
    _, data = opened(C4, sets, "DATASETS.TRAIN=('a-b','a_b')", "DATASETS.TEST=('a b',)")
    assert len({*data.train, data.test}) == 3 and data.counts()["train"] == 2 and data.counts()["val"] == 2
    taught = {record["image_id"] for name in data.train for record in data.readings[name].records}
    assert taught == set(names[:2])


def test_an_image_of_which_nothing_would_be_left_is_told(sets):
    first = sorted((sets / "coco" / "val2017").glob("*.jpg"))[0]
    Image.new("RGB", (1, 40_000)).save(first)

    def change(content):
        image = next(one for one in content["images"] if one["file_name"] == first.name)
        image.update(width=1, height=40_000)
        content["annotations"] = [one for one in content["annotations"] if one["image_id"] != image["id"]]

    in_json(sets, change, ["val"])
    with pytest.raises(UserError, match="1x40000 pixels, of which nothing is left"):
        opened(FPN, sets)
