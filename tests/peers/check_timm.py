"""Backbones of the real timm: their maps, with a pyramid and alone, in detectors that learn and detect."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import torch

from roialign.detection import DetectorSettings, TimmBackbone, timm_backbone
from roialign.features import BackboneOptions, make_backbone

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
    ],
)
def test_features_of_image_sets(name: str, strides: tuple[int, ...], size: tuple[int, int]) -> None:
    options = BackboneOptions(weights="none", image_size=None if size == (224, 224) else size)
    backbone = make_backbone(f"timm:{name}", options)
    assert backbone.strides == strides
    assert backbone.normalisation == make_backbone(f"timm:{name}", options).normalisation
    maps = backbone.maps(np.zeros((2, *size, 3), np.uint8), range(len(strides)))
    assert [tuple(features.shape) for features in maps] == [
        (2, channels, size[0] // stride, size[1] // stride)
        for stride, channels in zip(strides, backbone.channels, strict=True)
    ]


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


def test_the_example_of_the_docstring_runs() -> None:
    report: list[str] = []
    flags = doctest.OPTIONFLAGS_BY_NAME["SKIP"]
    for test in doctest.DocTestFinder(recurse=False).find(timm_backbone.TimmBackbone, "TimmBackbone", globs={}):
        for example in test.examples:
            example.options.pop(flags, None)
        doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    assert not report, "".join(report)
