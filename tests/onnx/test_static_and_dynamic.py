"""`torch.onnx.export` with every choice of sizes that are fixed and sizes that may change."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor, nn

from roialign.compat import mmcv
from roialign.torch import DeformRoIPool, PSRoIAlign, RoIAlign, RoIAlignRotated, RoIPool
from roialign.torch.export.scan import one_more, scan_rois
from tests.onnx.test_export import DYNAMIC, Exported, maps_of, rows_of
from tests.onnx.test_export_points import BINS, turned

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:onnxscript"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:copyreg"),
]


class Turned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pool = RoIAlignRotated(BINS, 1 / 3, 2)

    def forward(self, features: Tensor, rows: Tensor) -> Tensor:
        return self.pool(features, turned(rows))


class Moving(nn.Module):
    """Deformable, with offsets that follow from the rows."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = DeformRoIPool(BINS, 1 / 3, 2, gamma=0.3)

    def forward(self, features: Tensor, rows: Tensor) -> Tensor:
        angles = rows[:, 1:2] + torch.arange(2.0 * BINS[0] * BINS[1])
        return self.pool(features, rows, torch.sin(angles).reshape(-1, 2, *BINS))


class OfMmcv(nn.Module):
    """A function, without a module of its own."""

    def forward(self, features: Tensor, rows: Tensor) -> Tensor:
        return mmcv.roi_pool(features, rows, 2, 1.0)


#: The operators that ONNX has, and a loop over RoIs of every kind.
MODELS: dict[str, type[nn.Module] | nn.Module] = {
    "RoiAlign": RoIAlign(BINS, 1 / 3, 2),
    "MaxRoiPool": RoIPool((4, 2), 1 / 4),
    "exact": RoIAlign(BINS, 1 / 3, sampling="exact"),
    "maximum": RoIAlign(BINS, 1 / 3, mode="max"),
    "rotated": Turned(),
    "position-sensitive": PSRoIAlign(BINS, 1 / 3, 2),
    "deformable": Moving(),
    "RoIPool at 1/3": RoIPool(BINS, 1 / 3),
    "mmcv.roi_pool": OfMmcv(),
}
#: Of count, images, height and width, which may change.
CHOICES = list(product([False, True], repeat=4))
#: Everything, nothing, the count alone, all of the map: make test-all tries one of them for every operator, and make
#: test-recording tries all choices.
TRIED = [(True,) * 4, (False,) * 4, (True, False, False, False), (False, True, True, True)]
#: Recorded with these, and called with these where they may change.
SIZES, OTHERS = (7, 2, 10, 12), (12, 3, 7, 15)


def inputs(count: int, images: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    (features,) = maps_of(images, 12, (height, width))
    return features, rows_of(count, images, 3 * height, 3 * width)


def letters(free: tuple[bool, ...]) -> str:
    return "".join(letter for letter, one in zip("KNHW", free, strict=True) if one) or "none"


def exported(name: str, free: tuple[bool, ...]) -> Exported:
    count, *of_map = ({axis: DYNAMIC} if one else {} for axis, one in zip((0, 0, 2, 3), free, strict=True))
    return Exported(MODELS[name], inputs(*SIZES), (of_map[0] | of_map[1] | of_map[2], count))


def check(program: Exported, free: tuple[bool, ...]) -> None:
    """With the sizes that it was recorded with, and with others where they may change."""
    assert program.domains == {""}
    program.check(*inputs(*SIZES))
    program.check(*inputs(*(other if one else size for size, other, one in zip(SIZES, OTHERS, free, strict=True))))


def mark_of(number: int, free: tuple[bool, ...]) -> pytest.MarkDecorator:
    """The mark of an operator, by its number, with these sizes."""
    return pytest.mark.slow if free == TRIED[number % len(TRIED)] else pytest.mark.exhaustive


CELLS = [
    pytest.param(name, free, marks=mark_of(number, free), id=f"{name}-{letters(free)}")
    for (number, name), free in product(enumerate(MODELS), CHOICES)
]


@pytest.mark.parametrize(("name", "free"), CELLS)
def test_the_answer_is_that_of_torch(name: str, free: tuple[bool, ...]) -> None:
    check(exported(name, free), free)


class Doubling(nn.Module):
    def forward(self, rows: Tensor) -> Tensor:
        return scan_rois(lambda row: 2 * row, one_more(rows))


def test_one_export_leaves_nothing_behind_for_the_next() -> None:
    """What torch compiled for a fixed number of rows, or of columns, must not fix those of a later export."""
    rows = rows_of(7, 2, 10, 10)
    torch.export.export(Doubling(), (rows,))
    torch.export.export(Doubling(), (rows[:, 1:],))
    program = torch.export.export(Doubling(), (rows,), dynamic_shapes=({0: DYNAMIC},)).module()
    for count in (7, 12, 0):
        assert torch.equal(program(rows_of(count, 2, 10, 10)), 2 * rows_of(count, 2, 10, 10))
