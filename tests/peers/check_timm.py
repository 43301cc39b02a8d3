"""Backbones of the real timm: their maps, with a pyramid and alone, in detectors that learn and detect."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from pyarrow import parquet
from sklearn.datasets import load_sample_image

from roialign.detection import DetectorSettings, TimmBackbone, timm_backbone
from roialign.features import BackboneError, BackboneOptions, make_backbone
from roialign.features.efficientnet_lite import weights_path
from roialign.files.saved_tensors import read_saved_tensors
from tests.commands.invoked import invoke

HEIGHT, WIDTH = 64, 96
#: Of convolutions, and of windows of attention, whose maps come as [N, H, W, C].
PYRAMIDS = {
    "resnet10t": (4, 8, 16, 32, 64),
    "mobilenetv3_small_050": (4, 8, 16, 32, 64),
    "convnext_atto": (4, 8, 16, 32, 64),
    "swin_tiny_patch4_window7_224": (4, 8, 16, 32, 64),
}
OPTIONS = {"swin_tiny_patch4_window7_224": {"strict_img_size": False}}


@pytest.mark.parametrize("name", PYRAMIDS)
def test_a_pyramid_has_the_strides_that_it_says(name: str) -> None:
    backbone = TimmBackbone(name, out_channels=8, **OPTIONS.get(name, {})).eval()
    assert (backbone.strides, backbone.pooled_levels, backbone.out_channels) == (PYRAMIDS[name], 4, 8)
    maps = backbone(torch.rand(2, 3, HEIGHT, WIDTH))
    assert [tuple(features.shape) for features in maps] == [
        (2, 8, -(-HEIGHT // stride), -(-WIDTH // stride)) for stride in backbone.strides
    ]


def test_maps_with_channels_last_are_found_by_what_the_model_says() -> None:
    """The finest map of Swin-T has 96 channels, and for this image 96 rows, so its shape does not tell."""
    name, size = "swin_tiny_patch4_window7_224", (384, 416)
    images = np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8)
    features = make_backbone(f"timm:{name}", BackboneOptions(weights="none", image_size=size))
    pixels = torch.from_numpy(features.normalisation(images))
    with torch.no_grad():
        expected = [one.permute(0, 3, 1, 2) for one in features.module(pixels)]
    assert expected[0].shape == (1, 96, 96, 104)
    for found, wanted in zip(features.maps(images, range(4)), expected, strict=True):
        torch.testing.assert_close(found, wanted)

    torch.manual_seed(0)
    detector = TimmBackbone(name, out_channels=8, img_size=size).eval()
    with torch.no_grad():
        assert [tuple(one.shape[2:]) for one in detector(pixels)] == [(96, 104), (48, 52), (24, 26), (12, 13), (6, 7)]
        torch.testing.assert_close(
            detector(pixels)[0], detector.fpn([one.permute(0, 3, 1, 2) for one in detector.body(pixels)])[0]
        )


def test_a_transformer_without_levels_gives_its_single_map() -> None:
    backbone = TimmBackbone("vit_tiny_patch16_224", dynamic_img_size=True).eval()
    assert (backbone.strides, backbone.pooled_levels, backbone.out_channels) == ((16,), 1, 192)
    (features,) = backbone(torch.rand(1, 3, HEIGHT, WIDTH))
    assert features.shape == (1, 192, HEIGHT // 16, WIDTH // 16)


@pytest.mark.parametrize(
    ("name", "strides", "size"),
    [
        ("resnet10t", (2, 4, 8, 16, 32), (HEIGHT, WIDTH)),
        ("vit_tiny_patch16_224", (16,), (224, 224)),
        ("swin_tiny_patch4_window7_224", (4, 8, 16, 32), (224, 224)),
        ("efficientformer_l1", (4, 8, 16, 32), (224, 224)),
        ("levit_128s", (16, 32, 64), (224, 224)),  # its last map is 4 x 4, since layers round up
        ("efficientvit_m0", (16, 32, 64), (224, 224)),
    ],
)
def test_features_of_image_sets(name: str, strides: tuple[int, ...], size: tuple[int, int]) -> None:
    options = BackboneOptions(weights="none", image_size=None if size == (224, 224) else size)
    backbone = make_backbone(f"timm:{name}", options)
    assert backbone.strides == strides
    assert backbone.normalisation == make_backbone(f"timm:{name}", options).normalisation
    maps = backbone.maps(np.zeros((2, *size, 3), np.uint8), range(len(strides)))
    assert [tuple(features.shape) for features in maps] == [
        (2, channels, -(-size[0] // stride), -(-size[1] // stride))
        for stride, channels in zip(strides, backbone.channels, strict=True)
    ]


def test_the_size_of_a_model_may_be_given_even_if_its_strides_do_not_divide_it() -> None:
    options = BackboneOptions(weights="none", image_size=224)
    assert make_backbone("timm:levit_128s", options).image_size.fixed == (224, 224)


def test_a_map_may_lack_the_pixel_that_a_layer_without_padding_cuts_off() -> None:
    backbone = make_backbone("timm:pit_ti_224", BackboneOptions(weights="none"))
    (features,) = backbone.maps(np.zeros((1, 224, 224, 3), np.uint8), [0])
    assert (backbone.strides, tuple(features.shape[2:])) == ((8, 16, 32), (27, 27))


@pytest.mark.parametrize(
    ("name", "size", "why"),
    [
        ("vit_small_patch14_dinov2", (64, 96), "image-size: expected multiples of 14, got 64x96"),
        ("vit_tiny_patch16_224", 70, "image-size: expected multiples of 16, got 70x70"),
        ("levit_128s", 100, "image-size: expected multiples of 64, got 100x100"),
        ("inception_v3", None, "maps that divide an image of 288 x 288 pixels by its stride 2, got 141 x 141"),
    ],
)
def test_sizes_at_which_the_strides_would_be_wrong(name: str, size: int | tuple[int, int] | None, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        make_backbone(f"timm:{name}", BackboneOptions(weights="none", image_size=size))


def test_an_image_size_of_both_sides_is_a_multiple_of_the_patch() -> None:
    backbone = make_backbone("timm:vit_small_patch14_dinov2", BackboneOptions(weights="none", image_size=(42, 70)))
    (features,) = backbone.maps(np.zeros((1, 42, 70, 3), np.uint8), [0])
    assert (backbone.strides, tuple(features.shape[2:])) == ((14,), (3, 5))


@pytest.fixture(scope="module")
def imagenet_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of EfficientNet-Lite0 under timm's names. Both list the same layers in the same order."""
    target = timm.create_model("tf_efficientnet_lite0").state_dict()
    source = read_saved_tensors(weights_path())
    assert [value.shape for value in source.values()] == [tuple(value.shape) for value in target.values()]
    renamed = {name: torch.from_numpy(np.array(value)) for name, value in zip(target, source.values(), strict=True)}
    path = tmp_path_factory.mktemp("weights") / "efficientnet_lite0.pth"
    torch.save(renamed, path)
    return path


def test_trained_weights_give_the_maps_of_the_onnx_model(imagenet_weights: Path) -> None:
    photographs = np.stack([load_sample_image(name)[:320, :320] for name in ("china.jpg", "flower.jpg")])
    options = BackboneOptions(weights=str(imagenet_weights), image_size=320, normalise="lite", threads=1)
    ours = make_backbone("efficientnet-lite0", BackboneOptions(image_size=320, threads=1))
    theirs = make_backbone("timm:tf_efficientnet_lite0", options)
    for stride in (4, 8, 16):
        (expected,) = ours.maps(photographs, [ours.strides.index(stride)])
        (found,) = theirs.maps(photographs, [theirs.strides.index(stride)])
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)
        assert np.abs(expected).max() > 10


def test_region_features_of_photographs(imagenet_weights: Path, tmp_path: Path) -> None:
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for name in ("china.jpg", "flower.jpg"):
        Image.fromarray(load_sample_image(name)).save(photographs / name)
    shared = (photographs, "--boxes", "grid:2x2", "--levels", 16, "--output-size", "7,vector", "--readers", 0)
    of_timm = ("--backbone", "timm:tf_efficientnet_lite0", "--weights", imagenet_weights, "--normalise", "lite")
    tables = {}
    for folder, options in (("timm", of_timm), ("onnx", ("--backbone", "efficientnet-lite0"))):
        done = invoke("extract", *shared, *options, "--image-size", 320, "--out", tmp_path / folder)
        assert done.exit_code == 0, done.output
        tables[folder] = parquet.read_table(tmp_path / folder)
    for name in ("features", "vector"):
        found, expected = (np.stack(tables[folder][name].to_pylist()) for folder in ("timm", "onnx"))
        assert len(expected) == 8
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)


def test_a_detector_learns_and_detects() -> None:
    torch.manual_seed(0)
    settings = DetectorSettings(
        "mask-rcnn",
        "timm:resnet10t",
        classes=("a", "b"),
        out_channels=8,
        hidden=16,
        mask_hidden=4,
        min_size=64,
        regions={"score_threshold": 0.0, "detections": 3},
    )
    model = settings.build()
    target = {"boxes": torch.tensor([[8.0, 8, 60, 60]]), "labels": torch.tensor([1]), "masks": torch.ones(1, 64, 64)}
    losses = model([torch.rand(3, 64, 64)], [target])
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert model.backbone.body.conv1[0].weight.grad.abs().max() > 0
    with torch.no_grad():
        found = model.eval()([torch.rand(3, 64, 64)])[0]
    assert found["masks"].shape == (3, 1, 64, 64)
    again = DetectorSettings.of(settings.to_dict()).build()
    again.load_state_dict(model.state_dict())


def test_an_unknown_model_is_named() -> None:
    with pytest.raises(ValueError, match="backbone: expected a model of timm, got 'resnet10'"):
        TimmBackbone("resnet10")
    with pytest.raises(BackboneError, match="backbone: expected a model of timm, got 'timm:resnet10'"):
        make_backbone("timm:resnet10")
    options = BackboneOptions(weights="missing.pth")
    with pytest.raises(BackboneError, match="backbone: expected a model that timm can create, got 'timm:resnet10t': "):
        make_backbone("timm:resnet10t", options)


def test_the_example_of_the_docstring_runs() -> None:
    report: list[str] = []
    flags = doctest.OPTIONFLAGS_BY_NAME["SKIP"]
    for test in doctest.DocTestFinder(recurse=False).find(timm_backbone.TimmBackbone, "TimmBackbone", globs={}):
        for example in test.examples:
            example.options.pop(flags, None)
        doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    assert not report, "".join(report)
