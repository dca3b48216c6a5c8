"""Public data sets in their official folders, as small as they can be: two classes, two images of each in a split."""

from __future__ import annotations

import hashlib
import json
import pickle
from itertools import count

import numpy as np
from PIL import Image

SPLITS = ("train", "val", "test")
NAMES = ("one", "two")


def picture(path, number):
    """A small picture of its own colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 8), (number * 37 % 256, number * 91 % 256, 120)).save(path)


def text(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def matlab(path, **values):
    from scipy.io import savemat

    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, values)


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def food101(root, patch):
    number = count()
    for split in ("train", "test"):
        listed = {name: [f"{name}/{next(number)}" for _ in range(2)] for name in reversed(NAMES)}
        for names in listed.values():
            for name in names:
                picture(root / f"food-101/images/{name}.jpg", int(name.split("/")[1]))
        path = root / f"food-101/meta/{split}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(listed))


def cifar(root, patch, classes):
    from torchvision import datasets

    known = {10: datasets.CIFAR10, 100: datasets.CIFAR100}[classes]
    folder, draw = root / known.base_folder, np.random.default_rng(0)
    folder.mkdir(parents=True)
    key = "labels" if classes == 10 else "fine_labels"
    written = {}
    for name, *_ in known.train_list + known.test_list:
        pixels = draw.integers(0, 256, (4, 3072), np.uint8)
        (folder / name).write_bytes(pickle.dumps({"data": pixels, key: [1, 0, 0, 1]}))
        written[name] = [name, md5(folder / name)]
    meta = folder / known.meta["filename"]
    meta.write_bytes(pickle.dumps({known.meta["key"]: list(NAMES)}))
    for lists in ("train_list", "test_list"):
        patch.setattr(known, lists, [written[name] for name, *_ in getattr(known, lists)])
    patch.setattr(known, "meta", known.meta | {"md5": md5(meta)})


def sun397(root, patch):
    folder, number = root / "SUN397", count()
    text(folder / "ClassName.txt", ["/a/one", "/b/two/indoor"])
    for _, title in (("train", "Training"), ("test", "Testing")):
        names = [f"/{scene}/sun_{next(number)}.jpg" for scene in ("b/two/indoor", "a/one") for _ in range(2)]
        for place, name in enumerate(names):
            picture(folder / name.lstrip("/"), place)
        text(folder / f"Partitions/{title}_01.txt", names)
    picture(folder / "a/one/sun_99.jpg", 9)  # of no split


def stanford_cars(root, patch):
    folder = root / "stanford_cars"
    matlab(folder / "devkit/cars_meta.mat", class_names=np.array(NAMES, object))
    for split, lists in (("train", "devkit/cars_train_annos"), ("test", "cars_test_annos_withlabels")):
        kind = [("fname", object), ("class", int)]
        rows = np.array([(f"{place:05}.jpg", 2 - place % 2) for place in range(4)], kind)
        for place in range(4):
            picture(folder / f"cars_{split}/{place:05}.jpg", place)
        matlab(folder / f"{lists}.mat", annotations=rows)


def fgvc_aircraft(root, patch):
    folder, number = root / "fgvc-aircraft-2013b/data", count()
    text(folder / "variants.txt", ["one", "two half"])
    for split in SPLITS:
        lines = [f"{next(number):07} {name}" for name in ("two half", "one") for _ in range(2)]
        for line in lines:
            picture(folder / f"images/{line.split()[0]}.jpg", int(line.split()[0]))
        text(folder / f"images_variant_{split}.txt", lines)


def dtd(root, patch):
    number = count()
    for split in SPLITS:
        names = [f"{name}/{name}_{next(number)}.jpg" for name in reversed(NAMES) for _ in range(2)]
        for place, name in enumerate(names):
            picture(root / "dtd/dtd/images" / name, place)
        text(root / f"dtd/dtd/labels/{split}1.txt", names)


def oxford_pets(root, patch):
    folder, number = root / "oxford-iiit-pet", count()
    for split in ("trainval", "test"):
        lines = [f"{name}_{next(number)} {label} 1 1" for label, name in ((2, "two"), (1, "one")) for _ in range(2)]
        for place, line in enumerate(lines):
            picture(folder / f"images/{line.split()[0]}.jpg", place)
        text(folder / f"annotations/{split}.txt", lines)


def flowers102(root, patch):
    from torchvision.datasets import Flowers102

    folder = root / "flowers-102"
    for place in range(1, 13):
        picture(folder / f"jpg/image_{place:05}.jpg", place)
    matlab(folder / "imagelabels.mat", labels=np.array([1 + place % 2 for place in range(12)]))
    ids = np.arange(12, 0, -1)
    matlab(folder / "setid.mat", trnid=ids[:4], valid=ids[4:8], tstid=ids[8:])
    known = {"image": Flowers102._file_dict["image"]}
    known |= {key: (name, md5(folder / name)) for key, (name, _) in Flowers102._file_dict.items() if key != "image"}
    patch.setattr(Flowers102, "_file_dict", known)
    patch.setattr(Flowers102, "classes", list(NAMES))


def caltech101(root, patch):
    for name in ("BACKGROUND_Google", "one"):
        for place in range(1, 33):
            picture(root / f"caltech101/101_ObjectCategories/{name}/image_{place:04}.jpg", place)


def voc2007(root, patch, folder="VOCdevkit/VOC2007"):
    """An image of each split shows a dog and, hard to see, a cat; the other shows nothing but a person."""
    from transfer.datasets.benchmarks.voc2007 import CLASSES

    objects = {0: [("dog", 0), ("cat", 1), ("dog", 1)], 1: [("person", 0)]}
    for start, split in zip((0, 2, 4), SPLITS, strict=True):
        names = [f"{start + place:06}" for place in range(2)]
        text(root / folder / f"ImageSets/Main/{split}.txt", names)
        for place, name in enumerate(names):
            picture(root / folder / f"JPEGImages/{name}.jpg", start + place)
            boxes = "".join(
                f"<object><name>{kind}</name><difficult>{hard}</difficult></object>" for kind, hard in objects[place]
            )
            text(root / folder / f"Annotations/{name}.xml", [f"<annotation>{boxes}</annotation>"])
        for kind in CLASSES:
            marks = []
            for place, name in enumerate(names):
                hard = [difficult for one, difficult in objects[place] if one == kind]
                marks.append(f"{name} {-1 if not hard else 0 if all(hard) else 1:2}")
            text(root / folder / f"ImageSets/Main/{kind}_{split}.txt", marks)


def folders(root, patch):
    number = count()
    for split in SPLITS:
        for name in NAMES:
            for _ in range(2):
                place = next(number)
                picture(root / split / name / f"{place}.png", place)


def cifar10(root, patch):
    cifar(root, patch, 10)


def cifar100(root, patch):
    cifar(root, patch, 100)


LAYOUTS = {
    one.__name__: one
    for one in (food101, cifar10, cifar100, sun397, stanford_cars, fgvc_aircraft, dtd, oxford_pets, flowers102)
    + (caltech101, voc2007, folders)
}
