"""On a CUDA device, by `pytest -m gpu`: region features of backbones, and a detector that learns and detects."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.gpu.device import DEVICE
from roialign.detection import DetectorSettings, save_model
from roialign.features import BackboneOptions, make_backbone
from roialign.features.backbone import Precision
from roialign.features.pooling import Pooling
from tests.features.networks import TwoLevels, save_program
from tests.gpu.scenes import ON_GPU_OR_REHEARSED

pytestmark = ON_GPU_OR_REHEARSED

ROIS = np.array([[0, 3.0, 5.0, 70.0, 60.0], [1, 10.0, 2.0, 40.0, 44.0], [1, -5.0, 0.0, 96.0, 64.0]])
#: By precision, the largest difference from the CPU in float32, as a part of the largest feature.
TOLERANCES: dict[Precision, float] = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}

#: By model, the key of a target's boxes, and a box.
BOXES = {"faster-rcnn": ("boxes", [8.0, 8, 60, 60]), "oriented-rcnn": ("rotated_boxes", [34.0, 34, 40, 20, 0.3])}


class WithConstant(nn.Module):
    """A network that makes a tensor itself, on the device that it was exported on."""

    def forward(self, images: Tensor) -> Tensor:
        ramp = torch.arange(8, device=images.device) / 8
        return nn.functional.avg_pool2d(images, 8) * ramp.mean() + torch.tensor([0.5]).to(images.device)


def settings_of(kind: str) -> DetectorSettings:
    regions = {"score_threshold": 0.0, "detections": 3}
    small = {"width": 8, "out_channels": 16, "hidden": 32, "min_size": 64}
    return DetectorSettings(kind, "resnet18-fpn", classes=("a", "b"), regions=regions, **small)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("backbones")
    torch.manual_seed(0)
    settings = settings_of("faster-rcnn")
    save_model(folder / "detector.pt", settings.build(), settings)
    return {
        "levels": f"program:{save_program(folder / 'levels.pt2', TwoLevels())}",
        "constants": f"program:{save_program(folder / 'constants.pt2', WithConstant())}",
        "detector": f"detector:{folder / 'detector.pt'}",
    }


def region_features(name: str, options: BackboneOptions) -> list[np.ndarray]:
    backbone = make_backbone(name, options)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)
    levels = range(len(backbone.strides))
    pooling = Pooling(((7, 7), (1, 1)), levels=tuple(levels))
    return pooling.pool(backbone.maps(images, levels), backbone.strides, ROIS)


@pytest.mark.parametrize("name", ["levels", "constants", "detector"])
@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("channels_last", [False, True])
def test_region_features_are_those_of_the_cpu(
    name: str, precision: Precision, channels_last: bool, names: dict[str, str]
) -> None:
    expected = region_features(names[name], BackboneOptions(image_size=(64, 96)))
    options = BackboneOptions(image_size=(64, 96), device=DEVICE, precision=precision, channels_last=channels_last)
    found, again = (region_features(names[name], options) for _ in range(2))
    for of_gpu, once_more, of_cpu in zip(found, again, expected, strict=True):
        largest = float(np.abs(of_cpu).max())
        np.testing.assert_allclose(of_gpu, of_cpu, rtol=0, atol=TOLERANCES[precision] * largest)
        np.testing.assert_array_equal(of_gpu, once_more)


@pytest.mark.parametrize("kind", BOXES)
def test_a_detector_learns_as_on_the_cpu_and_detects(kind: str) -> None:
    key, box = BOXES[kind]
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(1))
    losses: dict[str, dict[str, Tensor]] = {}
    for device in ("cpu", DEVICE):
        torch.manual_seed(0)
        model = settings_of(kind).build().to(device)
        target = {key: torch.tensor([box], device=device), "labels": torch.tensor([1], device=device)}
        with torch.backends.cudnn.flags(allow_tf32=False):
            found = model([image.to(device)], [target])
        losses[device] = {name: loss.detach().cpu() for name, loss in found.items()}
        sum(found.values()).backward()
        assert all(weight.grad is None or weight.grad.isfinite().all() for weight in model.parameters())
        with torch.no_grad():
            assert len(model.eval()([image.to(device)])[0]["scores"]) == 3
    assert losses["cpu"].keys() == losses[DEVICE].keys()
    assert all(loss.isfinite() for loss in losses[DEVICE].values())
    for name in ("loss_objectness", "loss_rpn_box_reg"):  # the head's depend on the order of nearly equal scores
        torch.testing.assert_close(losses[DEVICE][name], losses["cpu"][name], rtol=1e-3, atol=1e-4)
