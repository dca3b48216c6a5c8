"""COCO JSON that were damaged, painted as label images: below the folder, or refused in one sentence."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from helpers.damaged import a_changed_tree
from helpers.fuzzing import outcome, search
from pretrain.runtime.errors import UserError
from tools.datasets import labels

pytestmark = pytest.mark.filterwarnings(  # pycocotools
    "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
)
PLAIN = {
    "images": [
        {"id": 1, "file_name": "a.jpg", "width": 8, "height": 6},
        {"id": 2, "file_name": "below/b.jpg", "width": 5, "height": 5},
    ],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "area": 16, "iscrowd": 0, "segmentation": [[0, 0, 4, 0, 4, 4]]},
        {"id": 2, "image_id": 1, "category_id": 2, "iscrowd": 1, "segmentation": {"size": [6, 8], "counts": [8, 40]}},
        {"id": 3, "image_id": 2, "category_id": 2, "segmentation": [[0, 0, 4, 0, 4, 4], [1, 1, 5, 5]]},
    ],
    "categories": [{"id": 1, "name": "x", "supercategory": "z"}, {"id": 2, "name": "y", "supercategory": "z"}],
}


@pytest.mark.parametrize("group", [False, True], ids=["categories", "groups"])
def test_a_damaged_json_is_painted_below_its_folder_or_refused(tmp_path, group):
    listing, out = tmp_path / "in.json", tmp_path / "deep" / "out"

    def check(tree):
        shutil.rmtree(tmp_path / "deep", ignore_errors=True)
        listing.write_text(json.dumps(tree))
        done = outcome(lambda: labels.paint_labels(listing, out, group), tmp_path)
        assert {found.name for found in tmp_path.iterdir()} <= {"in.json", "deep"}
        if isinstance(done, UserError):
            return
        classes, _ = done
        painted = [found for found in out.rglob("*") if found.is_file()]
        assert len(painted) == len(tree["images"])
        for path in painted:
            assert set(np.unique(np.array(Image.open(path)))) <= {*range(len(classes)), labels.IGNORED}

    check(PLAIN)
    search(check, 60, tree=a_changed_tree(PLAIN))
