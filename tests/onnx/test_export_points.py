"""`torch.onnx.export` of the pointwise family: standard operators only, and onnxruntime answers as we do."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from roialign.torch import (
    DeformRoIPool,
    MultiScaleRoIAlignRotated,
    PSRoIAlign,
    PSRoIPool,
    RiRoIAlignRotated,
    RoIAlign,
    RoIAlignRotated,
    RoIPool,
)
from roialign.torch.export import pointwise as export_points
from tests.onnx.test_export import ANY_MAP, ANY_ROWS, Exported, failing, maps_of, quick_first, rows_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:onnxscript"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:copyreg"),
]

BINS = (3, 2)


def turned(rows: Tensor) -> Tensor:
    """Rotated boxes that cover about the same."""
    image, x1, y1, x2, y2 = rows.unbind(1)
    return torch.stack([image, (x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1).abs(), (y2 - y1).abs(), x1 / 37], 1)


#: Upright and rotated operators on one map of stride 14, and RoIPool at a stride of 16. The first two parts have every
#: mapping, rule, reduction and order of channels, and bins that move; the last has them together in other ways.
PARTS: dict[str, tuple[list[nn.Module], list[nn.Module]]] = {
    "quick": ([RoIPool((4, 2), 1 / 16)], [RiRoIAlignRotated(BINS, 1 / 14, num_orientations=8)]),
    "one of each kind": ([RoIAlign(BINS, 1 / 14, mode="max", sampling="exact"), PSRoIPool(BINS, 1 / 14)], []),
    "the others": (
        [RoIPool(BINS, 1 / 14), RoIAlign(BINS, 1 / 14, mode="max"), PSRoIAlign(BINS, 1 / 14)],
        [RoIAlignRotated(BINS, 1 / 14, 2, mode="max")],
    ),
}
every_part = pytest.mark.parametrize("part", quick_first(PARTS))


class Operators(nn.Module):
    """Those of a part, side by side; one of them with the deformable one."""

    def __init__(self, part: str) -> None:
        super().__init__()
        upright, rotated = PARTS[part]
        self.upright, self.rotated = nn.ModuleList(upright), nn.ModuleList(rotated)
        self.deformable = DeformRoIPool(BINS, 1 / 14, gamma=0.3) if part == "one of each kind" else None

    def forward(self, features: Tensor, rows: Tensor, offset: Tensor, mask: Tensor) -> list[Tensor]:
        pooled = [pool(features, rows) for pool in self.upright]
        pooled += [pool(features, turned(rows)) for pool in self.rotated]
        return pooled if self.deformable is None else [*pooled, self.deformable(features, rows, offset, mask)]


def arguments_of(images: int, height: int, width: int, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(count)
    (features,) = maps_of(images, 24, (height, width))
    offset, mask = torch.randn(count, 2, *BINS, generator=generator), torch.rand(count, *BINS, generator=generator)
    return features, rows_of(count, images, 14 * height, 14 * width), offset, mask


@cache
def exported(part: str) -> Exported:
    return Exported(Operators(part), arguments_of(2, 20, 30, 6), (ANY_MAP, ANY_ROWS, ANY_ROWS, ANY_ROWS))


@every_part
@pytest.mark.parametrize(
    ("images", "height", "width", "count"),
    [(2, 20, 30, 6), (1, 13, 9, 40), (3, 32, 32, 0), (2, 5, 7, 1), (1, 1, 1, 5), (2, 31, 2, 25)],
)
def test_every_operator(images: int, height: int, width: int, count: int, part: str) -> None:
    exported(part).check(*arguments_of(images, height, width, count))


@every_part
def test_only_standard_operators_and_max_roi_pool_where_its_semantics_are_ours(part: str) -> None:
    model = exported(part)
    assert model.domains == {""}
    names = [node.op_type for node in model.proto.graph.node]
    assert names.count("MaxRoiPool") == (part == "quick"), "of a scale that is a power of two"
    assert names.count("Scan") == {"quick": 1, "one of each kind": 3, "the others": 4}[part]


@every_part
def test_rows_that_are_not_valid_pool_to_zero(part: str) -> None:
    features, rows, offset, mask = arguments_of(2, 20, 30, 8)
    rows[:] = torch.tensor([0.0, 20.0, 30.0, 150.0, 170.0])
    rows[1, 0], rows[2, 0], rows[3, 1], rows[4, 4] = 2, -1, math.nan, math.inf
    offset[5, 0, 1, 1] = math.inf
    model = exported(part)
    for index, pooled in enumerate(model.run(features, rows, offset, mask)):
        is_deformable = model.model.deformable is not None and index == 2
        assert (pooled[1:5] == 0).all()
        assert np.abs(pooled[6]).max() > 0
        assert (pooled[5] == 0).all() == is_deformable, "only bins that move have offsets"


@pytest.mark.slow
def test_a_rotated_pyramid() -> None:
    levels = maps_of(2, 3, (20, 30), (10, 15))
    rows = turned(rows_of(9, 2, 80, 120))
    model = MultiScaleRoIAlignRotated(2, [1 / 4, 1 / 8], 2, canonical_size=40, canonical_level=3)
    Exported(model, (levels, rows), ([ANY_MAP, ANY_MAP], ANY_ROWS)).check(levels, rows)


@every_part
def test_a_box_of_many_points_takes_no_longer_than_its_map(part: str) -> None:
    """Of 10^10 adaptive points those that cannot touch the map are counted and not visited."""
    features, rows, offset, mask = arguments_of(1, 20, 30, 1)
    rows[0, 1:] = torch.tensor([-1e5, -1.2e5, 1.3e5, 1e5])
    exported(part).check(features, rows, offset, mask)


def test_random_points_are_an_error() -> None:
    arguments: tuple[Any, ...] = (*maps_of(1, 3, (8, 8)), turned(rows_of(2, 1, 8, 8)))
    message = failing(RoIAlignRotated(2, sampling="random", seed=1).eval(), arguments)
    assert "sampling: expected 'grid' or 'exact' in an ONNX export, got 'random'" in message


def test_float32_does_not_cut_every_number_of_bins_alike() -> None:
    assert all(export_points._cuts_alike(bins) for bins in (1, 2, 4, 8, 16))
    assert not all(export_points._cuts_alike(bins) for bins in range(1, 30))


@pytest.mark.slow
def test_a_wrong_translation_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above can fail: RoIPool's pixel at the end left out."""
    honest = export_points.map_frames

    def wrong(spec: Any, *arguments: Any) -> Any:
        frame = honest(spec, *arguments)
        return frame._replace(length_x=(frame.length_x - 1).clamp(min=1.0))

    monkeypatch.setattr(export_points, "map_frames", wrong)
    features, rows, _, _ = arguments_of(1, 20, 30, 6)
    wrongly = Exported(RoIPool(BINS, 1 / 14), (features, rows), (ANY_MAP, ANY_ROWS))
    with pytest.raises(AssertionError, match="output 0"):
        wrongly.check(features, rows)
