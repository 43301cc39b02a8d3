"""What calls on CUDA tensors keep besides inputs and answers: counted where nothing is launched, at real sizes."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("triton")

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import roialign
from roialign._spec import SeparableSpec
from roialign.torch.backends import is_interpreted
from roialign.torch.triton import rows, separable, tiles
from roialign.torch.wiring.family import Operator
from roialign.torch.wiring.primitive import Inputs
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


@pytest.mark.parametrize("name", WORKLOADS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["planes", "channels last"])
def test_a_twentieth(name: str, dtype: torch.dtype, layout: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, images, channels, count, bins = WORKLOADS[name]
    for module in (separable, tiles):
        monkeypatch.setattr(module, "launch", lambda *_, **__: None)

    def of(*shape: int) -> Tensor:
        return torch.empty(shape, dtype=dtype, memory_format=layout)

    maps = tuple(of(images, channels, *size) for size in sizes)
    gradient, rois, levels = of(count, channels, bins, bins), torch.zeros(count, 5), torch.zeros(count).long()
    scales = tuple(2.0 ** -(2 + level) for level in range(len(sizes)))
    call = Operator(SeparableSpec("grid", offset=0.5), scales, None, "zero")
    phi, total = Inputs(maps, gradient, rois, levels, None, ()), sum(tensor.nbytes for tensor in (*maps, gradient))
    assert 0 < kept(lambda: separable.forward(call, phi._replace(grad_output=None), gradient)) < total / 20
    assert 0 < kept(lambda: separable.adjoint_features(call, phi._replace(features=()), maps)) < total / 20
    assert 0 < kept(lambda: separable.adjoint_boxes(call, phi, torch.empty(count, 5))) < total / 20


@pytest.mark.parametrize("count", [0, 1, 31, 32, 63, 64, 70, 191, 1000, 4097])
@pytest.mark.parametrize("per_row", [1, 192, 1000, 3000, 10**9])
@pytest.mark.parametrize("least_tables", [0, 10**5])
def test_every_row_is_in_one_part(count: int, per_row: int, least_tables: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no part has more of them than fit, or than make for the most parts of 32 or more."""
    monkeypatch.setattr(launch, "LEAST_TABLES", least_tables)
    maps = torch.empty(10**5)
    parts = list(rows.parts_of(count, per_row, [maps]))
    assert [row for part in parts for row in range(count)[part]] == list(range(count))
    assert len(parts) <= launch.MOST_PARTS
    assert all(part.start % launch.FEWEST_ROWS == 0 for part in parts)
    sizes = [part.stop - part.start for part in parts]
    assert sizes == sorted(sizes, reverse=True)
    assert len(parts) <= 1 or count * per_row > least_tables
    fit = max(int(launch.EXTRA * maps.nbytes), least_tables) // per_row
    least = launch.blocks_of(count, launch.MOST_PARTS * launch.FEWEST_ROWS) * launch.FEWEST_ROWS
    assert max(sizes, default=0) <= max(fit, least)


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
