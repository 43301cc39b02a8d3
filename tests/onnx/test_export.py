"""`torch.onnx.export` of the operators and modules: standard operators only, and onnxruntime answers as we do."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import roialign
from roialign.compat import detectron2, mmcv, torchvision
from roialign.torch import CropAndResize, MultiScaleRoIAlign, PrRoIPool, RoIAlign

# torch's exporter sets off a few warnings of its own.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:onnxscript"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:copyreg"),
]

DYNAMIC = torch.export.Dim.DYNAMIC
#: A map whose batch, height and width may change; and rows of RoIs.
ANY_MAP, ANY_ROWS = {0: DYNAMIC, 2: DYNAMIC, 3: DYNAMIC}, {0: DYNAMIC}
#: onnxruntime maps boxes in float32. Maps of up to 32 px, and of box-test size, in units of the largest feature.
SMALL, LARGE = 1e-5, 2e-4


class Exported:
    """A model in onnxruntime beside itself in torch."""

    def __init__(self, model: nn.Module, arguments: tuple[Any, ...], dynamic_shapes: tuple[Any, ...]) -> None:
        self.model = model.eval()
        program = torch.onnx.export(self.model, arguments, dynamic_shapes=dynamic_shapes, dynamo=True, verbose=False)
        assert program is not None
        self.proto = program.model_proto
        self.operators = {node.op_type for node in program.model.graph.all_nodes()}
        self.domains = {node.domain for node in program.model.graph.all_nodes()}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(self.proto.SerializeToString(), options)

    def run(self, *arguments: Any) -> list[np.ndarray[Any, Any]]:
        names = [given.name for given in self.session.get_inputs()]
        tensors = [one for argument in arguments for one in (argument if isinstance(argument, list) else [argument])]
        return self.session.run(None, {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)})  # type: ignore[no-any-return]

    def check(self, *arguments: Any, tolerance: float = SMALL) -> None:
        """Every output equals what torch computes."""
        with torch.no_grad():
            answers = self.model(*arguments)
        expected = [answers] if isinstance(answers, Tensor) else answers
        for index, (got, wanted) in enumerate(zip(self.run(*arguments), expected, strict=True)):
            assert got.shape == wanted.shape, f"output {index}"
            np.testing.assert_allclose(got, wanted.numpy(), rtol=0, atol=tolerance, err_msg=f"output {index}")


def maps_of(images: int, channels: int, *sizes: tuple[int, int]) -> list[Tensor]:
    """Features in [-1, 1], so that a tolerance is in units of the largest."""
    generator = torch.Generator().manual_seed(sum(sizes[0]))
    return [2 * torch.rand(images, channels, *size, generator=generator) - 1 for size in sizes]


def rows_of(count: int, images: int, height: float, width: float) -> Tensor:
    """RoIs in image pixels, float32: inside, partly and wholly off the image, inverted, and of no size."""
    generator = torch.Generator().manual_seed(count)
    image = torch.arange(count) % images
    corners = torch.rand(count, 2, 2, generator=generator) * 1.6 - 0.3
    low, high = corners.amin(1), corners.amax(1)
    low[4::5], high[4::5] = high[4::5], low[4::5]
    high[3::5] = low[3::5]
    size = torch.tensor([width, height])
    return torch.cat([image[:, None], low * size, high * size], 1)


def quick_first(parts: Iterable[str]) -> list[Any]:
    """The names of a table's parts; all but the first are slow."""
    return [pytest.param(part, marks=pytest.mark.slow if index else ()) for index, part in enumerate(parts)]


class Modules(nn.Module):
    """Modules with the same arguments, side by side."""

    def __init__(self, *pools: nn.Module) -> None:
        super().__init__()
        self.pools = nn.ModuleList(pools)

    def forward(self, features: Any, rows: Tensor) -> list[Tensor]:
        return [pool(features, rows) for pool in self.pools]


#: Every operator on one map of stride 14, except where a stride of 16 shows the difference, and a crop. What becomes
#: `RoiAlign` is exported within a second, each `Scan` takes five. The last part takes its points as the one before it
#: does, with zeros around the map and at the nearest pixel.
PARTS: dict[str, list[nn.Module]] = {
    "RoiAlign": [
        RoIAlign((3, 2), 1 / 14, 2),
        RoIAlign((3, 2), 1 / 14, 2, aligned=False),
        RoIAlign((3, 2), 1 / 16),
    ],
    "Scan": [
        RoIAlign((3, 2), 1 / 14, (0, 3), aligned=False),
        RoIAlign((3, 2), 1 / 14, sampling="exact"),
        CropAndResize((3, 1), extrapolation_value=0.5, layout="NCHW"),
    ],
    "the others": [
        PrRoIPool((3, 2), 1 / 14),
        CropAndResize((2, 3), method="nearest", extrapolation_value=-0.5, layout="NCHW"),
    ],
}
every_part = pytest.mark.parametrize("part", quick_first(PARTS))


class OneLevel(Modules):
    """The operators of a part, side by side."""

    def forward(self, features: Any, rows: Tensor) -> list[Tensor]:
        crop = (rows[:, 1:] / 400, rows[:, 0].to(torch.int64))
        return [pool(features, *(crop if isinstance(pool, CropAndResize) else (rows,))) for pool in self.pools]


@cache
def one_level(part: str) -> Exported:
    (x,) = maps_of(2, 3, (20, 30))
    return Exported(OneLevel(*PARTS[part]), (x, rows_of(6, 2, 280, 420)), (ANY_MAP, ANY_ROWS))


@every_part
@pytest.mark.parametrize(
    ("images", "height", "width", "count"),
    [(2, 20, 30, 6), (1, 13, 9, 40), (3, 32, 32, 0), (2, 5, 7, 1), (1, 1, 1, 5), (2, 31, 2, 25)],
)
def test_one_level(images: int, height: int, width: int, count: int, part: str) -> None:
    (x,) = maps_of(images, 3, (height, width))
    one_level(part).check(x, rows_of(count, images, 14 * height, 14 * width))


@every_part
def test_boxes_at_and_around_pixels(part: str) -> None:
    """Corners on pixel centres and borders, tiny sizes, and a box much larger than the map."""
    (x,) = maps_of(1, 3, (20, 30))
    start = torch.tensor([-14.0, -7.0, 0.0, 7.0, 14.0, 100.0, 280.0])
    length = torch.tensor([0.0, 1e-3, 7.0, 14.0, 42.0, 3000.0])
    x1, y1, size = (axis.flatten() for axis in torch.meshgrid(start, start, length, indexing="ij"))
    one_level(part).check(x, torch.stack([torch.zeros_like(x1), x1, y1, x1 + size, y1 + size], 1))
    (x,) = maps_of(1, 3, (17, 33))
    half = torch.arange(64) * 6.25  # pixels and halves between them, where the corners are fractions of 400 px
    one_level(part).check(x, torch.stack([torch.zeros(64), half, half.flip(0), half.flip(0), half], 1))


@every_part
def test_rows_that_are_not_valid_pool_to_zero(part: str) -> None:
    """An exported graph cannot raise, and must not read beyond the map."""
    (x,) = maps_of(2, 3, (20, 30))
    good = rows_of(1, 2, 280, 420)
    rows = good.repeat(8, 1)
    rows[:, 1:] = torch.tensor([20.0, 30.0, 150.0, 170.0])
    rows[1, 0], rows[2, 0], rows[3, 0] = 2, -1, 0.5
    rows[4, 1], rows[5, 2], rows[6, 3], rows[7, 4] = math.nan, math.inf, -math.inf, math.nan
    for pool, pooled in zip(PARTS[part], one_level(part).run(x, rows), strict=True):
        if isinstance(pool, CropAndResize):
            continue
        assert (pooled[1:] == 0).all()
        assert np.abs(pooled[0]).max() > 0


@pytest.mark.slow
def test_boxes_that_are_very_large() -> None:
    """Beyond float32, too. Not adaptive sampling by RoiAlign, whose runtimes visit every point there is."""
    (x,) = maps_of(2, 3, (20, 30))
    pools = Modules(RoIAlign((3, 2), 1 / 14, 3), RoIAlign((3, 2), 1 / 14, (0, 3)))
    exported = Exported(pools, (x, rows_of(6, 2, 280, 420).double()), (ANY_MAP, ANY_ROWS))
    for size in (1e5, 1e20, 1e50):
        rows = [[0.0, -size, -size, size, size], [1.0, 100.0, 50.0, size, 80.0]]
        exported.check(x, torch.tensor(rows, dtype=torch.float64))


@every_part
def test_only_standard_operators_and_roi_align_where_its_semantics_are_ours(part: str) -> None:
    exported = one_level(part)
    assert exported.domains == {""}
    onnx.checker.check_model(exported.proto, full_check=True)
    nodes = list(exported.proto.graph.node)
    assert not exported.proto.functions
    roi_aligns = [
        {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        for node in nodes
        if node.op_type == "RoiAlign"
    ]
    modes = [(node["coordinate_transformation_mode"], node["sampling_ratio"]) for node in roi_aligns]
    expected = [(b"half_pixel", 2), (b"output_half_pixel", 2), (b"half_pixel", 0)]
    assert modes == (expected if part == "RoiAlign" else [])
    assert sum(node.op_type == "Scan" for node in nodes) == (0 if part == "RoiAlign" else len(PARTS[part]))


class Pyramid(nn.Module):
    """A small backbone with four levels, and the heads of a detector: ours, and those of other packages."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=4, padding=1)
        self.down = nn.ModuleList([nn.Conv2d(4, 4, 3, stride=2, padding=1) for _ in range(3)])
        scales = [1 / 4, 1 / 8, 1 / 16, 1 / 32]
        self.grid = MultiScaleRoIAlign(7, scales, 2)
        self.exact = MultiScaleRoIAlign(7, scales, sampling="exact", canonical_size=60)
        self.torchvision = torchvision.MultiScaleRoIAlign(list("0123"), 7, 2)
        self.torchvision.scales = scales
        self.detectron2 = detectron2.ROIPooler((7, 5), scales, 0, "ROIAlignV2", canonical_box_size=60)
        layer = {"type": "RoIAlign", "output_size": 7, "sampling_ratio": 0}
        self.mmdet = mmcv.SingleRoIExtractor(layer, 4, [4, 8, 16, 32], finest_scale=20)

    def forward(self, image: Tensor, boxes: list[Tensor]) -> list[Tensor]:
        levels = [torch.tanh(self.stem(image))]
        for down in self.down:
            levels.append(torch.tanh(down(levels[-1])))
        rows = torch.cat([nn.functional.pad(one, (1, 0), value=float(index)) for index, one in enumerate(boxes)])
        by_name = dict(zip("0123", levels, strict=True))
        return [
            self.grid(levels, boxes),
            self.exact(levels, rows),
            self.torchvision(by_name, boxes, [(128, 96)] * 2),
            self.detectron2(levels, boxes),
            self.mmdet(levels, rows),
        ]


@cache
def pyramid() -> Exported:
    torch.manual_seed(0)
    boxes = [rows_of(count, 1, 128, 96)[:, 1:] for count in (4, 3)]
    shapes = ({2: DYNAMIC, 3: DYNAMIC}, [ANY_ROWS, ANY_ROWS])
    return Exported(Pyramid(), (torch.rand(2, 3, 128, 96), boxes), shapes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("height", "width", "counts"), [(128, 96, (4, 3)), (96, 128, (0, 25)), (64, 64, (0, 0)), (128, 128, (1, 0))]
)
def test_a_pyramid_with_the_heads_of_every_package(height: int, width: int, counts: Sequence[int]) -> None:
    image = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))
    boxes = [rows_of(count, 1, height, width)[:, 1:] for count in counts]
    pyramid().check(image, boxes)


@pytest.mark.slow
def test_a_pyramid_is_of_standard_operators() -> None:
    assert pyramid().domains == {""}
    assert {"RoiAlign", "Scan"} <= pyramid().operators


def test_modules_of_other_packages_in_half_precision() -> None:
    """mmcv's own export shifts by half a pixel twice from operator set 16. Half types are widened, and come back."""
    (x,) = (level.half() for level in maps_of(2, 3, (20, 30)))
    rows = rows_of(6, 2, 160, 240)
    modules = Modules(
        torchvision.RoIAlign(3, 1 / 8, 2, aligned=True),
        detectron2.ROIAlign(3, 1 / 8, 0),
        mmcv.RoIAlign(3, 1 / 8, 2),
        mmcv.SimpleRoIAlign(3, 1 / 8),
    )
    exported = Exported(modules, (x, rows), (ANY_MAP, ANY_ROWS))
    exported.check(x, rows, tolerance=2.0**-11)
    assert all(pooled.dtype == np.float16 for pooled in exported.run(x, rows))
    assert exported.operators >= {"RoiAlign", "Cast"}


@pytest.mark.slow
def test_extractors_of_layers_that_pool_one_level_each() -> None:
    """How many boxes belong to a level depends on values; there may be none."""
    layers = ({"type": kind, "output_size": (3, 2)} for kind in ("PrRoIPool", "SimpleRoIAlign"))
    extractors = [mmcv.SingleRoIExtractor(layer, 3, [4, 8], finest_scale=20) for layer in layers]
    levels = maps_of(2, 3, (20, 30), (10, 15))
    exported = Exported(Modules(*extractors), (levels, rows_of(9, 2, 80, 120)), ([ANY_MAP] * 2, ANY_ROWS))
    assert exported.domains == {""}
    for count in (9, 25, 1, 0):
        exported.check(levels, rows_of(count, 2, 80, 120))
    exported.check(maps_of(1, 3, (32, 32), (16, 16)), rows_of(12, 1, 128, 128))


@pytest.mark.slow
def test_box_test_size() -> None:
    """1000 RoIs of 16 to 600 px on four levels; fewer channels than a detector has, which differ in nothing."""
    scales = [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    model = Modules(MultiScaleRoIAlign(7, scales, 2), MultiScaleRoIAlign(7, scales, sampling="exact"))
    small = maps_of(1, 8, (20, 34), (10, 17), (5, 9), (3, 5))
    exported = Exported(model, (small, rows_of(10, 1, 80, 130)), ([{2: DYNAMIC, 3: DYNAMIC}] * 4, ANY_ROWS))
    levels = maps_of(1, 8, (200, 336), (100, 168), (50, 84), (25, 42))
    side, aspect, x, y = torch.rand(4, 1000, generator=torch.Generator().manual_seed(0))
    side, aspect = 16 * (600 / 16) ** side, (4**aspect / 2) ** 0.5
    x, y = x * 1333 - side / 2, y * 800 - side / 2
    rows = torch.stack([torch.zeros(1000), x, y, x + side * aspect, y + side / aspect], 1)
    exported.check(levels, rows, tolerance=LARGE)


@pytest.mark.slow
def test_levels_that_are_given() -> None:
    class Given(nn.Module):
        def forward(self, levels: list[Tensor], rows: Tensor, index: Tensor) -> list[Tensor]:
            return [
                roialign.multiscale_roi_align(levels, rows, 3, [1 / 4, 1 / 8], 2, levels=index),
                roialign.multiscale_roi_align(levels, rows, 3, [1 / 4, 1 / 8], (1, 2), levels=index),
                roialign.fpn_levels(rows, [1 / 4, 1 / 8, 1 / 16]).to(torch.float32),
            ]

    levels = maps_of(2, 3, (20, 30), (10, 15))
    rows = rows_of(6, 2, 80, 120)
    index = torch.tensor([1, 0, 0, 1, 1, 0])
    exported = Exported(Given(), (levels, rows, index), ([ANY_MAP, ANY_MAP], ANY_ROWS, ANY_ROWS))
    exported.check(levels, rows, index)
    sides = torch.tensor([0.0, 55.9, 111.0, 112.0, 223.99995, 224.0, 447.0, 448.0])
    squares = torch.stack([torch.zeros(8), sides * 0, sides * 0, sides, sides], 1)
    exported.check(levels, squares, torch.zeros(8, dtype=torch.int64))
    for pooled in exported.run(levels, rows[:2], torch.tensor([2, -1]))[:2]:
        assert (pooled == 0).all(), "a level that does not exist"


def failing(model: Any, arguments: tuple[Any, ...]) -> str:
    with pytest.raises(torch.onnx.OnnxExporterError) as caught:
        torch.onnx.export(model, arguments, dynamo=True, verbose=False)
    error: BaseException | None = caught.value
    messages = []
    while error is not None:
        messages.append(str(error))
        error = error.__cause__
    return "\n".join(messages)


def test_random_sampling_is_an_error() -> None:
    arguments = (*maps_of(1, 3, (8, 8)), rows_of(2, 1, 8, 8))
    message = failing(RoIAlign(2, sampling="random", seed=1).eval(), arguments)
    assert "sampling: expected 'grid' or 'exact' in an ONNX export, got 'random'" in message


def test_a_program_captured_beforehand_is_an_error() -> None:
    arguments = (*maps_of(1, 3, (8, 8)), rows_of(2, 1, 8, 8))
    program = torch.export.export(RoIAlign(2).eval(), arguments)
    message = "roialign::separable_forward is not an ONNX operator; pass the module to torch.onnx.export"
    assert message in failing(program, arguments)


def test_a_wrong_translation_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above can fail: half a pixel too much, as in mmcv's export."""
    from roialign.torch.export import separable as export

    wrong: Callable[..., Any] = dict(export.COORDINATE_MODES).__class__
    monkeypatch.setattr(export, "COORDINATE_MODES", wrong({(0.5, -math.inf): "output_half_pixel"}))
    (x,) = maps_of(1, 3, (20, 30))
    rows = rows_of(6, 1, 280, 420)
    exported = Exported(RoIAlign(3, 1 / 16, 2), (x, rows), (ANY_MAP, ANY_ROWS))
    with pytest.raises(AssertionError, match="output 0"):
        exported.check(x, rows)
