"""What calls on CUDA tensors keep besides inputs and answers: counted where nothing is launched, at real sizes."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

pytest.importorskip("triton")

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import roialign
from roialign._derivatives import Inputs, Operator
from roialign._spec import PointwiseSpec, SeparableSpec
from roialign.ops.roi_pool import ROI_POOL
from roialign.torch.backends import is_interpreted
from roialign.torch.triton import frames, pointwise, rows, separable, tiles
from roialign.triton import launch

P2, P3, P4, P5 = (200, 336), (100, 168), (50, 84), (25, 42)
#: Maps, images, channels, RoIs and bins.
WORKLOADS: dict[str, tuple[tuple[tuple[int, int], ...], int, int, int, int]] = {
    "a thousand boxes on a pyramid": ((P2, P3, P4, P5), 1, 256, 1000, 7),
    "a hundred masks on a pyramid": ((P2, P3, P4, P5), 1, 256, 100, 14),
    "one deep level": ((P4,), 1, 1024, 300, 14),
    "a plain transformer": (((24, 24),), 8, 1024, 256, 7),
}


class Kept(TorchDispatchMode):
    """Counts the bytes of tensors that are made, and lets go of those that die."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        answer = function(*arguments, **(options or {}))
        if "empty" in str(function):
            self.now += answer.nbytes
            self.most = max(self.most, self.now)
            weakref.finalize(answer, self.forget, answer.nbytes)
        return answer

    def forget(self, count: int) -> None:
        self.now -= count


def kept(call: Callable[[], None]) -> int:
    with Kept() as mode:
        call()
    return mode.most


def watch_launches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Launch nothing, and list the kernels."""
    launched: list[str] = []
    for module in (separable, pointwise, frames, tiles):
        monkeypatch.setattr(module, "launch", lambda kernel, *_, **__: launched.append(kernel.fn.__name__))
    return launched


@pytest.mark.parametrize("name", WORKLOADS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["planes", "channels last"])
def test_a_twentieth(name: str, dtype: torch.dtype, layout: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, images, channels, count, bins = WORKLOADS[name]
    launched = watch_launches(monkeypatch)

    def of(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=dtype, memory_format=layout)

    maps = tuple(of(images, channels, *size) for size in sizes)
    gradient, rois, levels = of(count, channels, bins, bins), torch.zeros(count, 5), torch.zeros(count).long()
    scales = tuple(2.0 ** -(2 + level) for level in range(len(sizes)))
    call = Operator(SeparableSpec("grid", offset=0.5), scales, None, "zero")
    phi, total = Inputs(maps, gradient, rois, levels, None, ()), sum(tensor.nbytes for tensor in (*maps, gradient))
    assert 0 < kept(lambda: separable.forward(call, phi._replace(grad_output=None), gradient)) < total / 20
    launched.clear()
    assert 0 < kept(lambda: separable.adjoint_features(call, phi._replace(features=()), maps)) < total / 20
    assert launched.count("adjoint_features_kernel") == 1, "the maps are written once"
    assert 0 < kept(lambda: separable.adjoint_boxes(call, phi, torch.empty(count, 5))) < total / 20


#: Bytes of tables and bits at once: of all parts of :func:`rows.parts_of` of a million rows, with some room.
MOST = 300e6


@pytest.mark.parametrize("count", [10**6, 3 * 10**6])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("spec", [SeparableSpec("crop"), SeparableSpec("grid", (1, 1)), SeparableSpec("grid")])
def test_millions_of_points(
    spec: SeparableSpec, count: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one large map with few channels: as many as `bilinear_interpolate` takes for a warped picture. The memory does
    not grow with their product with the size of the map."""
    watch_launches(monkeypatch)
    maps, gradient = (torch.empty(1, 3, 1000, 1000, dtype=dtype),), torch.empty(count, 3, 1, 1, dtype=dtype)
    rois = torch.empty(1, 5).expand(count, 5).contiguous()
    call, phi = Operator(spec, (1.0,), None, "zero"), Inputs(maps, gradient, rois, None, None, ())
    most = count * 80 / 4 + 10**4 if all(spec.has_one_point()) else MOST  # a few weights per point, in four parts
    assert 0 < kept(lambda: separable.forward(call, phi._replace(grad_output=None), gradient)) < most
    assert 0 < kept(lambda: separable.adjoint_features(call, phi._replace(features=()), maps)) < MOST
    assert 0 < kept(lambda: separable.adjoint_boxes(call, phi, torch.empty(count, 5))) < MOST + count * 32


def test_many_rotated_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    watch_launches(monkeypatch)
    maps, gradient = (torch.empty(1, 3, 1000, 1000),), torch.empty(400_000, 3, 2, 2)
    spec = PointwiseSpec("rotated", "grid", "mean", sampling_ratio=(2, 2))
    call = Operator(spec, (1.0,), None, "zero", bins=(2, 2))
    phi = Inputs(maps, gradient, torch.empty(400_000, 6), None, None, ())
    assert 0 < kept(lambda: pointwise.forward(call, phi._replace(grad_output=None), gradient)) < MOST
    assert 0 < kept(lambda: pointwise.adjoint_features(call, phi._replace(features=()), maps)) < MOST
    assert 0 < kept(lambda: pointwise.adjoint_boxes(call, phi, torch.empty(400_000, 6))) < MOST


@pytest.mark.parametrize("count", [0, 1, 31, 32, 63, 64, 70, 191, 1000, 4097])
@pytest.mark.parametrize("per_row", [1, 192, 1000, 3000, 10**9])
@pytest.mark.parametrize("least_tables", [0, 10**5])
@pytest.mark.parametrize("most_tables", [0, 5 * 10**5, 1 << 28])
def test_every_row_is_in_one_part(
    count: int, per_row: int, least_tables: int, most_tables: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no part has more of them than fit, or than make for the most parts of 32 or more; nor than fit into the
    limit for more parts than that."""
    monkeypatch.setattr(launch, "LEAST_TABLES", least_tables)
    monkeypatch.setattr(rows, "MOST_TABLES", most_tables)
    maps = torch.empty(10**5)
    parts = list(rows.parts_of(count, per_row, [maps]))
    assert [row for part in parts for row in range(count)[part]] == list(range(count))
    assert len(parts) <= launch.MOST_PARTS or count * per_row > launch.MOST_PARTS * most_tables
    assert all(
        (part.stop - part.start) * per_row <= max(most_tables, fit_of(maps, least_tables)) for part in parts
    ) or (max(part.stop - part.start for part in parts) <= launch.FEWEST_ROWS)
    assert all(part.start % launch.FEWEST_ROWS == 0 for part in parts)
    sizes = [part.stop - part.start for part in parts]
    assert sizes == sorted(sizes, reverse=True)
    assert len(parts) <= 1 or count * per_row > least_tables
    fit = fit_of(maps, least_tables) // per_row
    least = launch.blocks_of(count, launch.MOST_PARTS * launch.FEWEST_ROWS) * launch.FEWEST_ROWS
    assert max(sizes, default=0) <= max(fit, least)


def fit_of(maps: Tensor, least_tables: int) -> int:
    """The bytes of tables that fit into the extra memory."""
    return max(int(launch.EXTRA * maps.nbytes), least_tables)


@pytest.mark.parametrize("count", [0, 1, 32, 70, 4097])
@pytest.mark.parametrize("per_row", [1, 1000, 10**9])
def test_every_row_is_in_one_part_of_a_sum(count: int, per_row: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MOST_TABLES", 10**5)
    maps = torch.empty(10**6)
    parts = rows.parts_of_sums(count, per_row, [maps])
    assert [row for part in parts for row in range(count)[part]] == list(range(count))
    assert parts[0].start == 0
    assert (len(parts) == 1) == (count <= 32 or count * per_row <= maps.nbytes / 4)
    assert all(part.stop - part.start <= 32 or (part.stop - part.start) * per_row <= maps.nbytes / 4 for part in parts)
    assert rows.parts_of_sums(count, per_row, [maps], count * per_row) == [slice(0, count)]


def test_16_bit_maps_are_divided_only_if_it_takes_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are summed in float32 maps of twice the size."""
    watch_launches(monkeypatch)
    like: dict[str, Any] = {"dtype": torch.float16, "device": "meta", "memory_format": torch.channels_last}
    maps = tuple([torch.empty(64, 256, *size, **like) for size in (P2, P3, P4, P5)])
    gradient = torch.empty(64 * 512, 256, 7, 7, **like)
    call = Operator(SeparableSpec("grid", (2, 2)), (0.25, 0.125, 0.0625, 0.03125), None, "zero")
    levels = torch.empty(64 * 512, dtype=torch.int64, device="meta")
    phi = Inputs((), gradient, torch.empty(64 * 512, 5, device="meta"), levels, None, ())
    assert 0 < kept(lambda: separable.adjoint_features(call, phi, maps)) < sum(level.nbytes for level in maps)


def test_winners_that_are_found_again_count(monkeypatch: pytest.MonkeyPatch) -> None:
    watch_launches(monkeypatch)
    maps, gradient = (torch.empty(1, 64, 200, 200),), torch.empty(100_000, 64, 7, 7, device="meta")
    call = Operator(ROI_POOL, (1.0,), None, "zero", bins=(7, 7))
    phi = Inputs((), gradient, torch.empty(100_000, 5, device="meta"), None, None, (), maps)
    most = MOST + 0.25 * gradient.nbytes
    assert 0 < kept(lambda: pointwise.adjoint_features(call, phi, maps)) < most < gradient.nbytes


@pytest.mark.skipif(not is_interpreted(), reason="the kernels are compiled here: see test_gpu.py")
@pytest.mark.usefixtures("interpreter")
@pytest.mark.parametrize("family", ["separable", "pointwise"])
def test_parts_make_up_the_whole(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random points go by the numbers of rows among all of the call."""
    monkeypatch.setattr(launch, "EXTRA", 0.0)
    monkeypatch.setattr(launch, "LEAST_TABLES", 0)
    monkeypatch.setattr(launch, "FEWEST_ROWS", 1)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1, 2, 5, 6, generator=generator, dtype=torch.float64)
    rois = torch.tensor([[0.0, 1, 1, 4, 3], [0, 0, 1, 3, 4], [0, 2, 0, 5, 4]], dtype=torch.float64)
    mode: Any = "avg" if family == "separable" else "max"
    answers = []
    for backend in ("triton", "cpu"):
        boxes = rois.clone().requires_grad_()
        answer = roialign.roi_align(
            features, boxes, (1, 2), sampling_ratio=2, sampling="random", seed=1, mode=mode, backend=backend
        )
        (gradient,) = torch.autograd.grad(answer.square().sum(), boxes)
        answers.append((answer.detach(), gradient))
    for seen, right in zip(*answers, strict=True):
        torch.testing.assert_close(seen, right, rtol=1e-11, atol=1e-11)


SUMS: dict[str, Any] = {
    "RoIAlign": partial(roialign.roi_align_backward, need=("features",)),
    "maxima": roialign.roi_pool_backward,
    "position-sensitive": roialign.ps_roi_pool_backward,
}


@pytest.mark.skipif(not is_interpreted(), reason="the kernels are compiled here: see test_gpu.py")
@pytest.mark.usefixtures("interpreter")
@pytest.mark.parametrize(
    ("name", "channels_last", "is_crowded"),
    [
        ("RoIAlign", False, False),
        ("RoIAlign", True, True),
        ("maxima", True, False),
        pytest.param("RoIAlign", True, False, marks=pytest.mark.slow),
        pytest.param("RoIAlign", False, True, marks=pytest.mark.slow),
        pytest.param("maxima", False, True, marks=pytest.mark.slow),
        pytest.param("position-sensitive", False, False, marks=pytest.mark.slow),
        pytest.param("position-sensitive", True, True, marks=pytest.mark.slow),
    ],
)
def test_parts_of_a_gradient_are_added(
    name: str, channels_last: bool, is_crowded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradient of the core, also in float16, where parts are added before they are rounded."""
    monkeypatch.setattr(rows, "MOST_TABLES", 0)
    monkeypatch.setattr(rows, "EXTRA_OF_SUMS", 0.0)
    monkeypatch.setattr(launch, "FEWEST_ROWS", 3)
    if is_crowded:
        monkeypatch.setattr(launch, "EXTRA", 64.0)  # of tensors that are small beside a slot
        monkeypatch.setattr(launch, "SHARED_FROM", 1)
        monkeypatch.setattr(launch, "FEWEST_ROWS", 9)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    generator = torch.Generator().manual_seed(0)
    count = 18
    low = torch.rand(count, 2, generator=generator) * (1 if is_crowded else 5)
    rois = torch.cat([torch.zeros(count, 1), low, low + 3], 1)
    channels = 2 if name == "position-sensitive" else 8
    features = torch.randn(1, 8, 8, 8, generator=generator).half().contiguous(memory_format=layout)
    gradient = torch.rand(count, channels, 2, 2, generator=generator).half().contiguous(memory_format=layout)
    launched = watch_sums(monkeypatch)
    backward = SUMS[name]
    wide = [tensor.double() for tensor in (gradient, features)]
    right = features_of(backward(*wide, rois.double()))
    seen = features_of(backward(*wide, rois.double(), backend="triton"))
    torch.testing.assert_close(seen, right, rtol=1e-11, atol=1e-11)
    assert launched[0] == [False] + [True] * (1 if is_crowded else 5)
    assert launched[1] == (launched[0] if is_crowded else [])
    seen = features_of(backward(gradient, features, rois, backend="triton"))
    assert seen.dtype == torch.float16
    # Half a unit of the last place, and float32 sums.
    torch.testing.assert_close(seen.double(), right, rtol=1e-5 + 2.0**-11, atol=1e-6)


def watch_sums(monkeypatch: pytest.MonkeyPatch) -> tuple[list[bool], list[bool]]:
    """Whether launches add tiles to the maps: of those for all tiles, and of those for crowded ones."""
    found: tuple[list[bool], list[bool]] = ([], [])

    def watched(kernel: Any, *arguments: Any, **constants: Any) -> None:
        if "ADDS" in constants:
            found[kernel.fn.__name__ == "sum_shares_kernel"].append(constants["ADDS"])
        launch.launch(kernel, *arguments, **constants)

    for module in (separable, pointwise, tiles):
        monkeypatch.setattr(module, "launch", watched)
    return found


def features_of(gradients: Any) -> Tensor:
    return gradients[0] if isinstance(gradients, tuple) else gradients


@pytest.mark.skipif(not is_interpreted(), reason="the kernels are compiled here: see test_gpu.py")
@pytest.mark.usefixtures("interpreter")
def test_no_boxes_write_zeros() -> None:
    features, rois = torch.ones(1, 2, 5, 6), torch.empty(0, 5)
    for name in ("RoIAlign", "maxima"):
        gradient = SUMS[name](torch.empty(0, 2, 1, 1), features, rois, backend="triton")
        assert not features_of(gradient).any()
