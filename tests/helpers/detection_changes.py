"""Detection sets in which something is changed, and how they are then opened."""

from __future__ import annotations

import json
from xml.etree import ElementTree

from helpers.detection_samples import tiny
from transfer.detection import catalog
from transfer.detection.config import load


def opened(config, sets, *more, bits=16):
    cfg = load.load_config(config, tiny(config, sets, "random", *more))
    return cfg, catalog.open_datasets(cfg, sets.parent / "scratch", bits)


def in_json(sets, change, splits=("train", "val")):
    for split in splits:
        path = sets / "coco" / "annotations" / f"instances_{split}2017.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))


def each(change):
    return lambda content: [change(number, one) for number, one in enumerate(content["annotations"])]


def removed(key):
    return each(lambda _, one: one.pop(key))


def given(key, value):
    return each(lambda _, one: one.update({key: value}))


def on_every_second(key, value):
    return each(lambda number, one: one.update({key: value}) if number % 2 else None)


def in_xml(sets, change, split="val"):
    for name in (sets / "voc" / "ImageSets" / "Main" / f"{split}.txt").read_text().split():
        path = sets / "voc" / "Annotations" / f"{name}.xml"
        tree = ElementTree.parse(path)
        change(tree.getroot())
        tree.write(path)


def of_objects(change):
    return lambda root: [change(one) for one in root.iterfind("object")]


def without(key):
    return of_objects(lambda one: one.remove(one.find(key)))


def put(key, text):
    def change(one):
        (one.find(key) if one.find(key) is not None else ElementTree.SubElement(one, key)).text = text

    return change
