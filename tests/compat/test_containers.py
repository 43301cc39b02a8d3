"""A container of the wrong kind, such as a list in place of a dict, is an error that names the argument."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch

from roialign.compat import detectron2, mmcv, torchvision

MAP = torch.ones(1, 4, 8, 8)
MAPS, NAMED = [MAP, MAP], OrderedDict(a=MAP, b=MAP)
ROWS = torch.tensor([[0, 1.0, 1.0, 6.0, 5.0]])
BOXES = [ROWS[:, 1:]]
LAYER = {"type": "RoIAlign", "output_size": 2}


def _named(x: Any = NAMED, boxes: Any = BOXES, sizes: Any = None) -> Any:
    """Of torchvision. The sizes are read only if the scales are not known."""
    pool = torchvision.MultiScaleRoIAlign(["a", "b"], 2, 2)
    pool.scales = [1.0, 0.5] if sizes is None else None
    return pool(x, boxes, sizes)


def _listed(x: Any = MAPS, boxes: Any = BOXES, *, replaced: bool = False) -> Any:
    """Of detectron2."""
    pooler = detectron2.ROIPooler(2, [1.0, 0.5], 2, "ROIAlignV2")
    if replaced:
        pooler.level_poolers[1] = torchvision.RoIPool(2, 0.5)
    return pooler(x, boxes)


def _extracted(feats: Any = MAPS, rois: Any = ROWS, kind: Any = mmcv.SingleRoIExtractor, **options: Any) -> Any:
    """Of mmdet."""
    return kind(**{"roi_layer": LAYER, "out_channels": 4, "featmap_strides": [1, 2], **options})(feats, rois)


LIST_OF_BOXES = "expected a list with the boxes of each image, got"
LIST_OF_MAPS = "expected a list of maps, one per level, got"
CASES: list[tuple[Callable[[], Any], str]] = [
    (lambda: _named(MAPS), "x: expected a dict of maps by name, got list"),
    (lambda: _named(MAP, sizes=[(8, 8)]), "x: expected a dict of maps by name, got Tensor"),
    (lambda: _named(boxes=None), f"boxes: {LIST_OF_BOXES} NoneType"),
    (lambda: _named(boxes={"a": BOXES[0]}), f"boxes: {LIST_OF_BOXES} dict"),
    (lambda: _named(sizes=8), "image_shapes: expected a list with the (height, width) of each image, got int"),
    (lambda: _named(sizes=(8, 8)), "image_shapes[0]: expected (height, width), got int"),
    (lambda: _named(sizes=torch.tensor([8, 8])), "image_shapes[0]: expected (height, width), got Tensor"),
    (lambda: _named(sizes=[(8, 8), [8]]), "image_shapes[1]: expected (height, width), got [8]"),
    (lambda: torchvision.MultiScaleRoIAlign(None, 2, 2), "featmap_names: expected a list of names, got NoneType"),  # type: ignore[arg-type]
    (lambda: _listed(NAMED), f"x: {LIST_OF_MAPS} OrderedDict"),
    (lambda: _listed(None, replaced=True), f"x: {LIST_OF_MAPS} NoneType"),
    (lambda: _listed(boxes={"a": BOXES[0]}), f"box_lists: {LIST_OF_BOXES} dict"),
    (lambda: _listed(boxes=None, replaced=True), f"box_lists: {LIST_OF_BOXES} NoneType"),
    (lambda: detectron2.convert_boxes_to_pooler_format(None), f"box_lists: {LIST_OF_BOXES} NoneType"),  # type: ignore[arg-type]
    (lambda: detectron2.assign_boxes_to_levels({0: 1}, 2, 5, 224, 4), f"box_lists: {LIST_OF_BOXES} dict"),  # type: ignore[arg-type]
    (
        lambda: detectron2.ROIAlignRotated(2, 1.0, 2)(MAP, BOXES),
        "rois: expected a torch.Tensor, like input, got builtin",
    ),
    (lambda: _extracted(NAMED), f"feats: {LIST_OF_MAPS} OrderedDict"),
    (lambda: _extracted(3, kind=mmcv.GenericRoIExtractor), f"feats: {LIST_OF_MAPS} int"),
    (lambda: _extracted(rois=BOXES), "rois: expected a torch.Tensor, like feats, got builtins.list"),
    (lambda: _extracted(roi_layer="RoIAlign"), "roi_layer: expected a dict with the type of the layers and their "),
    (lambda: _extracted(featmap_strides=4), "featmap_strides: expected a list with the stride of each map, got int"),
    (lambda: mmcv.SimpleRoIAlign(2, 1.0)(MAPS, ROWS), "features: expected a torch.Tensor, got builtins"),
    (lambda: mmcv.SimpleRoIAlign(2, 1.0)(MAP, BOXES), "rois: expected a torch.Tensor, like features, got builtins.lis"),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_a_container_of_the_wrong_kind_is_named(case: int) -> None:
    call, message = CASES[case]
    with pytest.raises((TypeError, ValueError)) as raised:
        call()
    assert str(raised.value).startswith(message)


def test_other_containers_of_the_right_kind_are_taken() -> None:
    sizes = [torch.tensor([8, 8])]
    one = {"a": MAP}
    pool = torchvision.MultiScaleRoIAlign(("a",), 2, 2)
    torch.testing.assert_close(pool(one, tuple(BOXES), sizes), pool(OrderedDict(one), BOXES, [(8, 8)]))
    torch.testing.assert_close(_listed(iter(MAPS), tuple(BOXES)), _listed())
    torch.testing.assert_close(_extracted(torch.stack(MAPS)), _extracted())


def test_names_of_maps_may_be_the_keys_of_a_dict() -> None:
    assert torchvision.MultiScaleRoIAlign({"0": 1, "1": 2}, 2, 2).featmap_names == ["0", "1"]  # type: ignore[arg-type]
