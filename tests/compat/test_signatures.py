"""Corners of other packages' signatures: what their own tests and configurations pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from roialign.compat import detectron2, mmcv, torchvision
from roialign.ops.crop_and_resize import crop_and_resize
from tests.tables.tensors import pyramid, rois

ROWS = rois()
SIDES = torch.tensor([[6.0, 4.0], [20.0, 15.0], [9.0, 22.0]])
TURNED = torch.cat([ROWS[:, :1], ROWS[:, 1:3].abs() + 9, SIDES, torch.tensor([[0.3], [-0.8], [0.0]])], 1)
#: By name: the arguments of every RoI class of mmcv that an extractor may hold, and the rows that it takes.
LAYERS: dict[str, tuple[dict[str, Any], Tensor]] = {
    "RoIAlign": ({"output_size": 2, "sampling_ratio": 0}, ROWS),
    "RoIPool": ({"output_size": 2}, ROWS),
    "PrRoIPool": ({"output_size": 2}, ROWS),
    "SimpleRoIAlign": ({"output_size": 2}, ROWS),
    "DeformRoIPool": ({"output_size": 2}, ROWS),
    "DeformRoIPoolPack": ({"output_size": 2, "output_channels": 3}, ROWS),
    "ModulatedDeformRoIPoolPack": ({"output_size": 2, "output_channels": 3}, ROWS),
    "RoIAlignRotated": ({"output_size": 2, "sampling_ratio": 2}, TURNED),
    "RiRoIAlignRotated": ({"out_size": 2, "num_samples": 2, "num_orientations": 3}, TURNED),
}


def extractor_of(kind: str, **more: Any) -> Any:
    torch.manual_seed(3)
    extractor = mmcv.SingleRoIExtractor({"type": kind, **LAYERS[kind][0]}, 3, [4, 8], finest_scale=6, **more)
    with torch.no_grad():  # the offsets of a pack start at zero, which would hide them
        for weights in extractor.parameters():
            weights.normal_()
    return extractor.double()


@pytest.mark.parametrize("kind", LAYERS)
def test_an_extractor_of_every_layer(kind: str) -> None:
    extractor, rows, maps = extractor_of(kind), LAYERS[kind][1], pyramid()
    levels = extractor.map_roi_levels(rows, 2)
    assert set(levels.tolist()) == {0, 1}
    pooled = extractor(maps, rows)
    for row, level in enumerate(levels.tolist()):
        alone = extractor.roi_layers[level](maps[level], rows[row : row + 1])
        torch.testing.assert_close(pooled[row : row + 1], alone, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", LAYERS)
def test_one_map_is_the_first_level(kind: str) -> None:
    extractor, rows, maps = extractor_of(kind), LAYERS[kind][1], pyramid()
    alone = extractor.roi_layers[0](maps[0], rows)
    assert torch.equal(extractor(maps[:1], rows, roi_scale_factor=2.0), alone), "which does not scale boxes"
    layer = {"type": kind, **LAYERS[kind][0]}
    generic: Any = mmcv.GenericRoIExtractor(roi_layer=layer, out_channels=3, featmap_strides=[4, 8]).double()
    generic.load_state_dict(extractor.state_dict())
    assert torch.equal(generic(maps[:1], rows), alone)
    assert torch.equal(generic(maps, rows), alone + generic.roi_layers[1](maps[1], rows))


def test_rotated_boxes_keep_their_centre_and_angle() -> None:
    scaled = extractor_of("RoIAlignRotated").roi_rescale(TURNED, 1.5)
    assert torch.equal(scaled[:, [0, 1, 2, 5]], TURNED[:, [0, 1, 2, 5]])
    assert torch.equal(scaled[:, 3:5], 1.5 * TURNED[:, 3:5])


def test_layers_by_class_and_by_method() -> None:
    layer = {"type": mmcv.RoIAlign, "output_size": 2, "sampling_ratio": 2}
    extractor = mmcv.SingleRoIExtractor(layer, 3, [4, 8])
    assert [pool.spatial_scale for pool in extractor.build_roi_layers(layer, [16, 32])] == [1 / 16, 1 / 32]
    assert layer == {"type": mmcv.RoIAlign, "output_size": 2, "sampling_ratio": 2}


def test_what_a_generic_extractor_says_of_its_modules() -> None:
    layer = {"type": "RoIAlign", "output_size": 2}
    given: dict[str, Any] = {"roi_layer": layer, "out_channels": 3, "featmap_strides": [4]}
    bare, full = mmcv.GenericRoIExtractor(**given), mmcv.GenericRoIExtractor("sum", None, nn.ReLU(), **given)
    assert (bare.with_pre, bare.with_post, full.with_pre, full.with_post) == (False, False, False, True)


@pytest.mark.parametrize("kind", [mmcv.RoIAlign, mmcv.RoIAlignRotated])
def test_names_that_mmcv_has_given_up(kind: Any) -> None:
    with pytest.warns(DeprecationWarning, match="is deprecated in") as warned:
        pool = kind(out_size=(2, 3), spatial_scale=0.5, sample_num=2)
    messages = [str(warning.message) for warning in warned]
    name = kind.__name__
    assert messages == [
        f'"out_size" is deprecated in `{name}`, please use "output_size" instead',
        f'"sample_num" is deprecated in `{name}`, please use "sampling_ratio" instead',
    ]
    assert (pool.output_size, pool.sampling_ratio) == ((2, 3), 2)
    with pytest.raises(TypeError, match="out_size: expected only output_size, the new name, got both"):
        kind(output_size=2, spatial_scale=0.5, out_size=2)


def test_a_sampling_ratio_of_detectron2_may_be_a_whole_float() -> None:
    maps, rows = pyramid(), ROWS
    assert torch.equal(detectron2.ROIAlign(2, 0.25, 0.0)(maps[0], rows), detectron2.ROIAlign(2, 0.25, 0)(maps[0], rows))  # type: ignore[arg-type]
    turned: Any = detectron2.ROIAlignRotated
    assert torch.equal(turned(2, 0.25, 2.0)(maps[0], TURNED), turned(2, 0.25, 2)(maps[0], TURNED))
    boxes = [rows[:1, 1:], rows[1:, 1:]]
    for kind in ("ROIAlign", "ROIAlignV2", "ROIPool"):
        poolers: list[Any] = [detectron2.ROIPooler(2, [0.25, 0.125], ratio, kind) for ratio in (0.0, 0)]  # type: ignore[arg-type]
        assert torch.equal(poolers[0](maps, boxes), poolers[1](maps, boxes))
    with pytest.raises(TypeError, match="sampling_ratio"):
        detectron2.ROIAlign(2, 0.25, 0.5)(maps[0], rows)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "int32", "int64"])
def test_crops_of_integers_are_float32(dtype: str) -> None:
    image = torch.tensor([[1, 2], [3, 4]]).reshape(1, 2, 2, 1).to(getattr(torch, dtype))
    box, index = torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([0])
    for crop in (
        crop_and_resize(image, box, index, 1),  # type: ignore[arg-type]
        crop_and_resize(image.numpy(), box.numpy(), index.numpy(), 1),
    ):
        assert str(crop.dtype).removeprefix("torch.") == "float32"
        assert crop.item() == 2.5


#: What a package asserts, with arguments that its users get wrong.
ASSERTED: dict[str, Callable[[], Any]] = {
    "torchvision: rows of 4": lambda: torchvision.roi_align(pyramid()[0], ROWS[:, 1:], 2),
    "torchvision: boxes of 5": lambda: torchvision.roi_pool(pyramid()[0], [ROWS[:1], ROWS[1:]], 2),
    "torchvision: not boxes": lambda: torchvision.ps_roi_align(pyramid()[0], "boxes", 1),
    "torchvision: module": lambda: torchvision.RoIAlign(2, 0.25, 2)(pyramid()[0], ROWS[:, 1:]),
    "detectron2: rows of 4": lambda: detectron2.ROIAlign(2, 0.25, 2)(pyramid()[0], ROWS[:, 1:]),
    "detectron2: images": lambda: detectron2.ROIPooler(2, [0.25], 2, "ROIAlign")(pyramid()[:1], [ROWS[:, 1:]]),
    "detectron2: levels": lambda: detectron2.ROIPooler(2, [0.25], 2, "ROIAlign")(pyramid(), [ROWS[:, 1:]] * 2),
    "detectron2: scales": lambda: detectron2.ROIPooler(2, [], 2, "ROIAlign"),
    "mmcv: rows of 4": lambda: mmcv.roi_align(pyramid()[0], ROWS[:, 1:], 2),
    "mmcv: mode": lambda: mmcv.RoIAlign(2, pool_mode="sum")(pyramid()[0], ROWS),
    "mmdet: layer": lambda: mmcv.SingleRoIExtractor({"type": "RoI"}, 3, [4]),
    "mmdet: aggregation": lambda: mmcv.GenericRoIExtractor(
        "mean", roi_layer={"type": "RoIAlign", "output_size": 2}, out_channels=3, featmap_strides=[4]
    ),
}


@pytest.mark.parametrize("name", ASSERTED)
def test_errors_where_the_other_package_asserts(name: str) -> None:
    with pytest.raises(AssertionError) as caught:
        ASSERTED[name]()
    assert isinstance(caught.value, (ValueError, TypeError))


class _Doubled(mmcv.RoIAlign):
    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(*inputs)


def test_a_subclass_of_a_layer_is_called_on_every_level() -> None:
    maps = [torch.rand(1, 3, 16, 16), torch.rand(1, 3, 8, 8)]
    rois = torch.tensor([[0, 1.0, 2, 9, 8], [0, 0, 0, 60, 60]])
    options = {"output_size": 2, "sampling_ratio": 2}
    plain = mmcv.SingleRoIExtractor({"type": mmcv.RoIAlign, **options}, 3, [4, 8], 28)(maps, rois)
    doubled = mmcv.SingleRoIExtractor({"type": _Doubled, **options}, 3, [4, 8], 28)(maps, rois)
    torch.testing.assert_close(doubled, 2 * plain)


@pytest.mark.parametrize("clockwise", [False, True])
def test_rotated_boxes_are_pooled_in_one_call(clockwise: bool) -> None:
    maps = [torch.rand(1, 3, 16, 16), torch.rand(1, 3, 8, 8)]
    rois = torch.tensor([[0, 30.0, 25, 60, 60, 0.4], [0, 20, 20, 9, 8, 1.0]])
    layer = {"type": "RoIAlignRotated", "output_size": 2, "sampling_ratio": 2, "clockwise": clockwise}
    extractor = mmcv.SingleRoIExtractor(layer, 3, [4, 8], 28)
    parts = [extractor.roi_layers[level](maps[level], rois[row : row + 1]) for row, level in ((0, 1), (1, 0))]
    torch.testing.assert_close(extractor(maps, rois), torch.cat(parts))
    # level by level, the number of rows on a level would depend on values
    shape = extractor([level.to("meta") for level in maps], rois.to("meta")).shape
    assert shape == (2, 3, 2, 2)
