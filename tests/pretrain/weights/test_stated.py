"""What a file says of its network and images is believed: another network is refused by name, whatever its shapes."""

import argparse
import json

import pytest
import torch
import yaml

from helpers.small_checkpoints import content_of, write_safetensors, write_zip
from pretrain.models import TRUNKS
from pretrain.runtime.errors import UserError
from pretrain.weights.beside import neighbours
from pretrain.weights.read_trunk import read_trunk
from pretrain.weights.stated import check_images, check_stated, contradicted, scaled, torchvision_name
from pretrain.weights.trunk import shapes_of

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
IMPOSTORS = {"resnet18": ["resnetblur18"], "resnet50": ["resnetblur50", "resnetaa50"]}
SIZES = ("resnet18", "resnet34", "resnet50", "resnext50_32x4d", "wide_resnet50_2")


def built(name):
    """A network of timm without its classifier."""
    import timm

    try:
        with torch.device("meta"):
            return timm.create_model(name, num_classes=0)
    except RuntimeError:  # some networks of timm older than 1.0.30 ask for numbers while they are made
        return timm.create_model(name, num_classes=0)


def twins(arch):
    """timm's networks whose tensors have exactly the names and shapes of torchvision's `arch`."""
    import timm

    family = "*" + arch.split("_")[0].removeprefix("wide").removeprefix("_") + "*" if "wide" not in arch else "wide*50*"
    for name in timm.list_models(family.replace("resnext50", "resnext*50").replace("resnet", "resnet*")):
        network = built(name)
        if {key: one.shape for key, one in network.state_dict().items()} == shapes_of(arch):
            yield name


@pytest.mark.slow
@pytest.mark.parametrize("arch", SIZES)
def test_of_timms_networks_with_the_same_tensors_only_the_same_network_is_accepted(arch):
    """The oracle is how timm builds them: an other pooling, activation or shortcut shows in the modules' classes."""

    def parts_of(name):
        modules = built(name).named_modules()
        parts = {key: (type(one).__name__, one.extra_repr()) for key, one in modules if not list(one.children())}
        return {key: one for key, one in parts.items() if one[0] != "Identity"}

    own = parts_of(arch)
    found = list(twins(arch))
    assert {arch, *IMPOSTORS.get(arch, ())} <= set(found)
    for name in found:
        assert torchvision_name(name) == (arch if parts_of(name) == own else None), name


HOLDERS = {
    "the file": lambda name: {"arch": name},
    "Namespace": lambda name: {"args": argparse.Namespace(model=name, lr=0.1)},
    "dictionary": lambda name: {"args": {"backbone": name}},
    "Lightning": lambda name: {"hyper_parameters": {"backbone": {"name": name}, "method": "byol"}},
    "our configuration": lambda name: {"config": {"model": {"arch": name}}},
    "provenance": lambda name: {"provenance": {"arch": name}},
    "hub": lambda name: {"hub": {"architecture": name}},
}


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize(
    "name", ["resnetblur18", "resnetaa50", "resnet50d", "seresnet50", "resnet50_gn", "timm/resnet26t.x"]
)
def test_another_network_is_refused_wherever_its_name_stands(holder, name):
    content = HOLDERS[holder](name)
    with pytest.raises(UserError, match=f"says it is a {name}, which is not one of torchvision's ResNets"):
        check_stated("a file", content, None)
    assert check_stated("a file", content, "resnet18") == name  # the user says what it is


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("arch", TRUNKS)
def test_torchvisions_networks_are_accepted_and_never_confused(holder, arch):
    content = HOLDERS[holder](arch)
    assert check_stated("a file", content, None) == arch
    assert contradicted(content, arch) == ""
    assert contradicted(content, "resnet18" if arch != "resnet18" else "resnet34") == arch


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ResNet-50", "resnet50"),
        ("R50", "resnet50"),
        ("timm/resnet50.a1_in1k", "resnet50"),
        ("tv_resnet34", "resnet34"),
        ("gluon_resnet50_v1b", "resnet50"),
        ("gluon_resnet50_v1c", None),
        ("swsl_resnext101_32x8d", "resnext101_32x8d"),
        ("resnet", ""),
        ("resnet50x2", None),
        ("vit_small", None),
    ],
)
def test_names_of_the_same_network_are_known(name, meant):
    assert torchvision_name(name) == meant


@pytest.mark.parametrize("word", ["byol", "simsiam", "mocov2plus", "siamese_network", "ressl", "nnclr", "barlow_twins"])
def test_a_methods_name_is_no_networks(word):
    assert check_stated("a file", {"args": {"model": word}, "hyper_parameters": {"network": word}}, None) == ""


def config(backbone="type='ResNet', depth=18", images="mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]"):
    return f"model = dict(type='A', backbone=dict({backbone}))\nimages = dict({images})\n"


ODD = {
    "caffe style": (config("type='ResNet', depth=50, style='caffe'"), r"stride in the 1x1"),
    "a dictionary": (
        "model = {'backbone': {'type': 'mmdet.ResNet', 'depth': 50, 'style': 'caffe'}}",
        r"stride in the 1x1",
    ),
    "by a name": (
        "style = 'caffe'\nmodel = dict(backbone=dict(type='ResNet', depth=50, style=style))",
        r"stride in the 1x1",
    ),
    "BGR": (config(images="mean=[1., 2., 3.], std=[1., 1., 1.], to_rgb=False"), r"order BGR"),
    "BGR of mmengine": (config(images="mean=[1., 2., 3.], std=[1., 1., 1.], bgr_to_rgb=False"), r"order BGR"),
    "BGR by its mean": (
        config(images="mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0]"),
        r"order BGR, by their mean",
    ),
    "GroupNorm": (config("type='ResNet', depth=50, norm_cfg=dict(type='GN', num_groups=32)"), r"normalisation GN"),
    "deep stem": (config("type='ResNet', depth=50, deep_stem=True"), r"deep_stem=True"),
    "dilation": (
        config("type='ResNet', depth=50, dilations=(1, 1, 2, 4), strides=(1, 2, 1, 1)"),
        r"strides=\(1, 2, 1, 1\)",
    ),
    "deformable": (config("type='ResNet', depth=50, dcn=dict(type='DCNv2')"), r"dcn='DCNv2'"),
}


@pytest.mark.parametrize("key", ["config", "cfg"])
@pytest.mark.parametrize("kind", ODD)
def test_what_a_configuration_of_openmmlab_says_is_refused_by_name(kind, key):
    text, message = ODD[kind]
    with pytest.raises(UserError, match=message):
        check_images("a file", {"meta": {key: text}})


@pytest.mark.parametrize("kind", ["ResNetV1d", "Res2Net", "ResNeSt", "RegNet"])
def test_another_backbone_of_openmmlab_is_refused_by_name(kind):
    with pytest.raises(UserError, match=f"says it is a {kind}-50"):
        check_stated("a file", {"meta": {"config": config(f"type='{kind}', depth=50")}}, None)


@pytest.mark.parametrize("holder", ["", "args", "hyper_parameters", "provenance.input", "pretrained_cfg", "meta"])
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("channel_order", "BGR", "order BGR"),
        ("format", "bgr", "order BGR"),
        ("norm_layer", "GroupNorm", "the normalisation GroupNorm"),
        ("norm", "GN", "the normalisation GN"),
        ("output_stride", 8, "an output stride of 8"),
    ],
)
def test_settings_of_a_training_script_are_believed(holder, key, value, message):
    def within(told):
        for word in reversed(list(filter(None, holder.split(".")))):
            told = {word: told}
        return told

    with pytest.raises(UserError, match=message):
        check_images("a file", within({key: value}))
    for plain in ({"norm": "BN"}, {"norm_layer": "SyncBatchNorm"}, {"channel_order": "RGB"}, {"output_stride": 32}):
        assert check_images("a file", within(plain)) is None


def test_a_configuration_of_torchvisions_network_tells_its_own_statistics():
    for norm in ("BN", "SyncBN"):  # one function in evaluation
        text = config(f"type='ResNet', depth=50, style='pytorch', norm_cfg=dict(type='{norm}')")
        found = check_images("a file", {"meta": {"cfg": text}})
        assert torch.allclose(torch.tensor(found), torch.tensor(IMAGENET), atol=1e-6)
        assert check_stated("a file", {"meta": {"cfg": text}}, None) == "resnet50"


def test_a_configuration_is_never_run(tmp_path):
    text = f"open({str(tmp_path / 'ran')!r}, 'w')\n" + config()
    check_images("a file", {"meta": {"config": text}})
    assert not (tmp_path / "ran").exists()
    for hostile in ("(" * 100_000, "a = " + "[" * 5000, "dict(**", "\0", "x" * 2_000_000):
        assert check_images("a file", {"meta": {"config": hostile}}) is None


def test_a_detector_that_says_nothing_of_its_images_is_refused_until_the_user_says_it(tmp_path):
    content = content_of("mmdetection")
    write_zip(tmp_path / "in.pth", {"state_dict": content["state_dict"], "meta": {"CLASSES": ("a",)}})
    with pytest.raises(UserError, match=r"\(mmdetection\) does not say .* --prefix backbone\."):
        read_trunk(tmp_path / "in.pth")
    assert read_trunk(tmp_path / "in.pth", prefix="backbone.").arch == "resnet18"


@pytest.mark.parametrize(
    "part", ["rpn_head.rpn_conv.weight", "decode_head.conv_seg.weight", "neck.lateral_convs.0.conv.weight"]
)
def test_no_detector_or_segmenter_is_taken_for_a_self_supervised_method(tmp_path, part):
    trunk = {
        name: one for name, one in content_of("mmselfsup 1.x")["state_dict"].items() if name.startswith("backbone.")
    }
    text = config("type='ResNet', depth=18, style='caffe'")
    state = trunk | {part: torch.zeros(2, 2), "head.fc.weight": torch.zeros(2, 2)}
    write_zip(tmp_path / "in.pth", {"meta": {"config": text}, "state_dict": state})
    with pytest.raises(UserError, match=r"\(mmdetection\) says of its network: style='caffe'"):
        read_trunk(tmp_path / "in.pth")


@pytest.mark.parametrize(
    ("neighbour", "message"),
    [
        ({"architecture": "resnetblur18"}, "says it is a resnetblur18"),
        ({"model_type": "resnet", "downsample_in_bottleneck": True}, "stride in the 1x1"),
        ({"model_type": "resnet", "downsample_in_first_stage": True}, "a stride in its first stage"),
        ({"model_type": "resnet", "hidden_act": "gelu"}, "the activation gelu"),
    ],
)
def test_what_a_hub_keeps_beside_a_file_counts(tmp_path, neighbour, message):
    state = {key: one for key, one in content_of("pytorch tutorial")["model_state_dict"].items() if "linear" not in key}
    write_safetensors(tmp_path / "model.safetensors", {"model": state})
    assert read_trunk(tmp_path / "model.safetensors").arch == "resnet18"
    (tmp_path / "config.json").write_text(json.dumps(neighbour))
    with pytest.raises(UserError, match=message):
        read_trunk(tmp_path / "model.safetensors")


def test_statistics_beside_a_file_are_the_files_own(tmp_path):
    state = {key: one for key, one in content_of("pytorch tutorial")["model_state_dict"].items() if "linear" not in key}
    write_zip(tmp_path / "pytorch_model.bin", state)
    (tmp_path / "config.json").write_text("{broken")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.25] * 3}))
    found = read_trunk(tmp_path / "pytorch_model.bin")
    assert found.pixels == ((0.5,) * 3, (0.25,) * 3) and found.pixels_from == "the file says"


@pytest.mark.parametrize(
    ("resnets", "order", "message"),
    [
        ({"STRIDE_IN_1X1": True}, "RGB", "stride in the 1x1"),
        ({}, "BGR", "order BGR"),
        ({"STEM_TYPE": "deeplab"}, "RGB", "stem"),
    ],
)
def test_detectron2s_configuration_beside_a_detector_counts(tmp_path, resnets, order, message):
    write_zip(tmp_path / "model_final.pth", content_of("detectron2, FPN"))
    assert read_trunk(tmp_path / "model_final.pth").pixels_from == "is usual (the file does not say)"
    model = {"RESNETS": {}, "PIXEL_MEAN": [127.5] * 3, "PIXEL_STD": [51.0] * 3}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"MODEL": model, "INPUT": {"FORMAT": "RGB"}}))
    assert read_trunk(tmp_path / "model_final.pth").pixels == ((0.5,) * 3, (0.2,) * 3)
    stated = {"MODEL": {**model, "RESNETS": resnets}, "INPUT": {"FORMAT": order}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(stated))
    with pytest.raises(UserError, match=message):
        read_trunk(tmp_path / "model_final.pth")


def test_neighbours_of_other_files_are_not_looked_at(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnetblur18"}))
    assert neighbours(tmp_path / "trunk.pth") == {}


@pytest.mark.parametrize("author", ["Detectron2 Model Zoo", "Caffe2"])
def test_a_file_of_detectron2s_zoo_is_refused_by_its_author(tmp_path, author):
    write_zip(tmp_path / "in.pth", {**content_of("detectron2, FPN"), "__author__": author})
    with pytest.raises(UserError, match=f"the author {author}, whose networks take BGR"):
        read_trunk(tmp_path / "in.pth")


@pytest.mark.parametrize(("mean", "std"), [([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]), IMAGENET])
def test_statistics_of_0_to_255_and_of_0_to_1_are_told_apart(mean, std):
    assert torch.allclose(torch.tensor(scaled(mean, std)), torch.tensor(IMAGENET), atol=1e-6)
    assert scaled([0.0] * 3, [1.0] * 3) == ((0.0,) * 3, (1.0,) * 3)
    for wrong in (None, [0.5], [float("nan")] * 3, "abc", [0.0, 0.0, 0.0]):
        assert scaled(mean, wrong) is None
