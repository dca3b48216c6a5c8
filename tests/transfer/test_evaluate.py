"""tools/evaluate.py: results of a real export on real files, and how bad input ends."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from helpers import tool_process
from helpers.outcomes import retold
from helpers.painted import paint, paint_both
from pretrain.engine.checkpoint import export_trunk
from pretrain.models.trunks import build_trunk
from pretrain.runtime.errors import UserError
from tools import compare, embed, evaluate, sweep
from transfer import results
from transfer.classifiers import knn
from transfer.datasets.labelled import open_labelled
from transfer.features.extract import extract

TOOL = Path(evaluate.__file__)
QUICK = ["image_size=32", "workers=0", "batch_size=8", "device=cpu", "threads=1"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """ROOT/{train,val} of painted classes, and two exports of one ResNet-18: at step 0 and, by its meta, later."""
    root = tmp_path_factory.mktemp("place")
    paint_both(root / "colours", train=6, val=4)
    torch.manual_seed(0)
    trunk, _ = build_trunk("resnet18", zero_init_residual=False)
    for name, step in (("initial", 0), ("trunk", 30)):
        export_trunk(root / f"{name}.pth", trunk, "resnet18", {"step": step, "seed": 0})
    return root


def command(place, out, task, *more, checkpoint="initial.pth", data="colours"):
    """The arguments of one evaluation with small settings."""
    return [
        task,
        "--checkpoint",
        str(place / checkpoint),
        "--data",
        str(place / data),
        "--out",
        str(out),
        *QUICK,
        *more,
    ]


def test_frozen_tasks_share_features_and_write_one_file_each(place, tmp_path, capsys):
    evaluate.main(command(place, tmp_path / "new" / "{task}.json", "knn,linear"))
    found = {task: results.load(tmp_path / "new" / f"{task}.json") for task in ("knn", "linear")}
    said = capsys.readouterr().out
    assert said.count("features of train: 18 images") == 1
    for task, result in found.items():
        assert result.task == task
        assert f"{task} on colours, random resnet18" in said
        assert result.counts == {"train": 18, "val": 12, "classes": 3, "skipped": 0}
        assert (result.init, result.arch, result.seed) == ("random", "resnet18", 0)
        assert result.checkpoint_sha256 == hashlib.sha256((place / "initial.pth").read_bytes()).hexdigest()
        assert "Resize(37) + CenterCrop(32)" in result.protocol
        assert result.settings["image_size"] == 32 and result.seconds > 0
        assert result.settings["found"]["frozen_precision_used"] == "fp32"  # auto on a CPU
    assert "k=200 clipped to the 18 training images" in found["knn"].protocol
    assert found["linear"].metrics["top1"] > 90  # colours survive random convolutions


def test_a_variable_stands_in_for_the_labelled_images(place, tmp_path, monkeypatch):
    words = command(place, tmp_path / "{task}.json", "knn")
    at = words.index("--data")
    monkeypatch.setenv("UNIGRAD_DATA", str(place / "colours"))
    evaluate.main([*words[:at], *words[at + 2 :]])
    assert results.load(tmp_path / "knn.json").counts == {"train": 18, "val": 12, "classes": 3, "skipped": 0}
    monkeypatch.setenv("UNIGRAD_DATA", str(tmp_path))
    with pytest.raises(UserError, match="has no folder train"):
        evaluate.main([*words[:at], *words[at + 2 :]])
    evaluate.main(words)  # what is typed goes before it


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        (evaluate, ["knn", "--checkpoint", "a.pth", "--out", "a.json"]),
        (embed, ["--checkpoint", "a.pth", "--out", "a.npy"]),
        (compare, ["--config", "configs/pretrain/table9", "--out", "a"]),
        (sweep, ["--config", "configs/sweep/balance.yaml", "--out", "a"]),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_where_nothing_names_the_images_one_sentence_says_how(tool, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="--data is not set: add --data .*, or set UNIGRAD_DATA in the environment"):
        tool.main(words)
    assert not list(tmp_path.iterdir())


def test_a_network_whose_blocks_add_nothing_is_told_and_marked(place, tmp_path, capsys):
    """As a baseline it is handicapped: nobody should read its number without that."""
    silent, _ = build_trunk("resnet18", zero_init_residual=True)
    export_trunk(tmp_path / "silent.pth", silent, "resnet18", {"step": 0, "seed": 0})
    for checkpoint, marks in ((str(tmp_path / "silent.pth"), {"silent_blocks": 8}), ("initial.pth", {})):
        evaluate.main(command(place, tmp_path / "r.json", "knn", checkpoint=checkpoint))
        found = results.load(tmp_path / "r.json").pretraining
        assert {name: value for name, value in found.items() if name == "silent_blocks"} == marks
        assert ("8 residual blocks" in capsys.readouterr().out) == bool(marks)


def test_features_from_a_cache_give_the_same_results(place, tmp_path, capsys):
    for name, more in (("without", []), ("first", ["cache=CACHE"]), ("again", ["cache=CACHE"])):
        more = [word.replace("CACHE", str(tmp_path / "cache")) for word in more]
        evaluate.main(command(place, tmp_path / f"{name}-{{task}}.json", "knn,linear", *more))
        assert ("features of train" in capsys.readouterr().out) == (name != "again")
    for task in ("knn", "linear"):
        found = [results.load(tmp_path / f"{name}-{task}.json") for name in ("without", "first", "again")]
        assert found[0].metrics == found[1].metrics == found[2].metrics
        assert found[0].settings["found"] == found[1].settings["found"]


def test_knn_of_the_tool_equals_its_parts(place, tmp_path):
    evaluate.main(command(place, tmp_path / "r.json", "knn", checkpoint="trunk.pth"))
    result = results.load(tmp_path / "r.json")
    trunk, _ = build_trunk("resnet18")
    trunk.load_state_dict(torch.load(place / "trunk.pth", weights_only=True)["state_dict"])
    data = open_labelled(place / "colours")
    cpu = torch.device("cpu")
    pair = [extract(trunk, source, 32, 37, 5, 0, cpu) for source in (data.train, data.val)]
    assert result.metrics == pytest.approx(knn.knn_accuracy(*pair, 3, cpu))
    assert (result.init, result.pretraining["step"]) == ("pretrained", 30)


def test_fine_tuning_counts_its_list(place, tmp_path):
    names = [
        "n01_red_0.JPEG",
        "n01_red_1.JPEG",
        "n02_green_3.JPEG",
        "n03_blue_5.JPEG",
        "n03_blue_77.JPEG",
        "n9_x_1.JPEG",
    ]
    (tmp_path / "few.txt").write_text("\n".join(names))
    evaluate.main(
        command(
            place,
            tmp_path / "r.json",
            "semi",
            f"image_list={tmp_path / 'few.txt'}",
            "epochs=2",
            "seed=7",
            "max_absent=0.2",
        )
    )
    result = results.load(tmp_path / "r.json")
    assert result.counts == {
        "train": 4,
        "val": 12,
        "skipped": 0,
        "listed": 6,
        "absent": 2,
        "absent_of_known_classes": 1,
        "classes": 3,
    }
    assert retold(result, tmp_path)[0] == list(result.metrics)
    assert result.seed == 7 and "few.txt" in result.protocol and "2 epochs" in result.protocol
    assert result.settings["found"]["batch_size_used"] == 4


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["n01_red_0", "n02_green_3", "n03_blue_5", "n03_blue_77"], r"1 of the 4 names .* such as n03_blue_77\.JPEG"),
        (["n01_red_0", "n01_red_1", "n03_blue_5"], "1 of 3 classes have no labelled image, such as n02_green"),
    ],
    ids=["absent images", "absent class"],
)
def test_a_list_that_does_not_fit_is_told_before_training(place, tmp_path, capsys, names, sentence):
    (tmp_path / "few.txt").write_text("".join(f"{name}.JPEG\n" for name in names))
    with pytest.raises(UserError, match=sentence):
        evaluate.main(command(place, tmp_path / "r.json", "semi", f"image_list={tmp_path / 'few.txt'}"))
    assert "images/s" not in capsys.readouterr().out and not (tmp_path / "r.json").exists()


@pytest.mark.parametrize(
    ("task", "more", "sentence"),
    [
        ("linear", "head.epochs=100", r"head\.\* are options of probe=fast"),
        ("linear", "probe=fast head.schedule=step", r"head\.milestones=\[60, 80\] must rise"),
        ("readings", "images=5", "tsne needs at least 8 images of val, not 5"),
        ("semi", "sweep=[0.1]", "a sweep chooses on images of train that are not labelled"),
    ],
)
def test_options_that_cannot_work_are_told_before_any_image_is_read(place, tmp_path, capsys, task, more, sentence):
    with pytest.raises(UserError, match=sentence):
        evaluate.main(command(place, tmp_path / "r.json", task, *more.split()))
    assert "images/s" not in capsys.readouterr().out


def test_a_result_that_cannot_be_written_is_told_with_its_numbers(place, tmp_path):
    (tmp_path / "full").symlink_to("/proc")  # a folder in which no file can be made
    with pytest.raises(UserError, match=r"r\.json cannot be written .* it says top1"):
        evaluate.main(command(place, tmp_path / "full" / "r.json", "knn"))


def test_features_that_are_not_finite_are_told_and_not_kept(place, tmp_path):
    trunk, _ = build_trunk("resnet18")
    with torch.no_grad():
        trunk.bn1.running_var.fill_(-1.0)  # finite in the file, and no number has this root
    export_trunk(tmp_path / "diverged.pth", trunk, "resnet18", {"step": 9, "seed": 0})
    for more in ([], [f"cache={tmp_path / 'cache'}"]):
        with pytest.raises(UserError, match="are not finite, first those of n01_red"):
            evaluate.main(command(place, tmp_path / "r.json", "knn", *more, checkpoint=str(tmp_path / "diverged.pth")))
    assert not list((tmp_path / "cache").iterdir()) and not (tmp_path / "r.json").exists()


def test_corrupt_images_are_counted_in_the_result(place, tmp_path):
    root = paint_both(tmp_path / "colours", train=3, val=2)
    (root / "val" / "n01_red" / "n01_red_0.png").write_bytes(b"")
    evaluate.main(command(place, tmp_path / "r.json", "knn", data=str(root)))
    assert results.load(tmp_path / "r.json").counts == {"train": 9, "val": 5, "classes": 3, "skipped": 1}


def test_labels_of_val_are_trains_even_where_val_lacks_a_class(tmp_path):
    root = paint_both(tmp_path / "colours", train=1, val=1)
    (root / "val" / "n01_red" / "n01_red_0.png").unlink()
    (root / "val" / "n01_red").rmdir()
    data = open_labelled(root)
    assert data.val.classes == data.train.classes and data.val.labels == (1, 2)


def broken_folders(place, tmp_path):
    """Data roots that cannot work, each with what the sentence must say."""
    no_val = tmp_path / "no_val"
    paint(no_val / "train", 1)
    flat = paint_both(tmp_path / "flat", 1, 1)
    (flat / "val" / "loose.png").write_bytes((flat / "val" / "n01_red" / "n01_red_0.png").read_bytes())
    strange = paint_both(tmp_path / "strange", 1, 1)
    (strange / "val" / "n03_blue").rename(strange / "val" / "n04_black")
    empty = paint_both(tmp_path / "empty", 1, 1)
    for path in (empty / "train").rglob("*.png"):
        path.unlink()
    (tmp_path / "other" / "sub").mkdir(parents=True)
    return {
        "no folder val": no_val,
        "val mixes 1 loose image": flat,
        "'n04_black'": strange,
        "holds no image": empty,
        "absent does not exist": tmp_path / "absent",
        "no folder train .it has sub": tmp_path / "other",
    }


def test_data_that_cannot_work_is_told_before_any_image_is_read(place, tmp_path, capsys):
    for sentence, root in broken_folders(place, tmp_path).items():
        with pytest.raises(UserError, match=sentence):
            evaluate.main(command(place, tmp_path / "r.json", "knn", data=str(root)))
    assert "images/s" not in capsys.readouterr().out
    assert not (tmp_path / "r.json").exists()


@pytest.mark.parametrize(
    ("task", "more", "sentence"),
    [
        ("knn", ["imagesize=32"], "did you mean 'image_size'"),
        ("linear", ["image_size=big"], "image_size"),
        ("linear", ["held_out=1.5"], "held_out=1.5"),
        ("linear", ["probe=quick"], "probe=quick"),
        ("linear", ["head.lr=1"], "did you mean 'head.lrs'"),
        ("knn", ["k=19"], "k=19 neighbours are more than the 18 training images"),
        ("semi", ["max_absent=2"], "max_absent=2"),
        ("semi", ["sweep=[0.1]", "fraction=1.0", "epochs=1"], "there are none: label fewer"),
        ("knn", ["resize=16"], "resize=16"),
        ("knn", ["device=tpu"], "device=tpu"),
        ("semi", ["fraction=2"], "fraction=2"),
        ("semi", ["schedule=sin"], "schedule=sin"),
        ("semi", ["image_list=nowhere.txt"], "nowhere.txt"),
        ("semi", ["--config", "nowhere.yaml"], "nowhere.yaml"),
        ("k-nn", [], "'k-nn' is not known"),
        ("knn,linear", [], "{task}"),
    ],
)
def test_wrong_options_are_named(place, tmp_path, task, more, sentence):
    with pytest.raises(UserError, match=sentence):
        evaluate.main(command(place, tmp_path / "r.json", task, *more))
    assert not (tmp_path / "r.json").exists()


def test_truncated_checkpoint_ends_the_tool_in_one_sentence_and_code_2(place, tmp_path):
    whole = (place / "trunk.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    earlier = tmp_path / "r.json"
    earlier.write_text(json.dumps({"kept": True}))
    arguments = command(place, earlier, "knn", checkpoint=str(tmp_path / "cut.pth"))
    done = tool_process.run([sys.executable, TOOL, *arguments], cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "cut.pth" in done.stderr
    assert json.loads(earlier.read_text()) == {"kept": True}


def test_help_answers_without_torch():
    code = "import sys; sys.modules['torch'] = None; from tools import evaluate; evaluate.main(['--help'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=TOOL.parents[1])
    assert done.returncode == 0 and "image_list" in done.stdout
