"""torch.compile and torch.export: no graph breaks, few graphs, the answers of eager mode."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils._pytree import tree_leaves

import roialign
from roialign.torch import MultiScaleRoIAlign, RoIAlign
from tests.tables.tensors import OPERATORS, SCALES, features, multiscale, pyramid, rois, values

pytestmark = [
    # torch's own tracer looks into numpy's lazy modules.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch._dynamo"),
]


@pytest.fixture(autouse=True)
def _forget_graphs() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def check_one_graph(function: Callable[..., Any], *arguments: Any) -> None:
    """Whole in one graph, with the answers and the strides of eager mode."""
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(function, backend=counter, fullgraph=True)
    seen, right = tree_leaves(compiled(*arguments)), tree_leaves(function(*arguments))
    assert counter.frame_count == 1
    assert len(seen) == len(right)
    for answer, expected in zip(seen, right, strict=True):
        assert answer.dtype == expected.dtype
        assert answer.stride() == expected.stride()
        assert torch.equal(answer, expected)


def boxes_of(count: int) -> Tensor:
    return rois().repeat(-(-count // 3), 1)[:count] + torch.arange(count, dtype=torch.float64)[
        :, None
    ] * 0.01 * torch.tensor([0, 1, 1, 1, 1], dtype=torch.float64)


COUNTS = (5, 7, 9, 0, 1, 100, 33, 0, 1)


def test_one_static_graph_one_dynamic_none_and_one() -> None:
    counter = CompileCounterWithBackend("aot_eager")

    def pool(f: Tensor, r: Tensor) -> Tensor:
        return roialign.roi_align(f * 2, r, (2, 3), 0.25) + 1

    compiled = torch.compile(pool, backend=counter, fullgraph=True)
    graphs = []
    for count in COUNTS:
        assert torch.equal(compiled(features(), boxes_of(count)), pool(features(), boxes_of(count)))
        graphs.append(counter.frame_count)
    assert graphs == [1, 2, 2, 3, 4, 4, 4, 4, 4]


def test_as_few_graphs_in_training_on_a_pyramid() -> None:
    counter = CompileCounterWithBackend("aot_eager")

    def loss(a: Tensor, b: Tensor, r: Tensor) -> Tensor:
        return multiscale([a.cos(), b.cos()], r).square().sum()

    compiled = torch.compile(loss, backend=counter, fullgraph=True)
    for count in COUNTS:
        gradients = []
        for function in (compiled, loss):
            leaves = [tensor.requires_grad_() for tensor in (*pyramid(), boxes_of(count))]
            gradients.append(torch.autograd.grad(function(*leaves), leaves))
        for seen, right in zip(*gradients, strict=True):
            torch.testing.assert_close(seen, right, rtol=1e-12, atol=1e-12)
    assert counter.frame_count == 4


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator(name: str) -> None:
    check_one_graph(OPERATORS[name], features(), rois())


def test_every_structure_of_arguments() -> None:
    f, r, images = features(), rois(), torch.tensor([0, 1, 1])
    check_one_graph(lambda f, r: roialign.roi_align(f, r, 2, 0.25), f, [r[:1, 1:], r[1:, 1:].float()])
    check_one_graph(lambda f, r, i: roialign.roi_align(f, r, 2, 0.25, batch_indices=i), f, r[:, 1:], images)
    check_one_graph(lambda f, r, i: multiscale(f, r, levels=i), pyramid(), r, images)
    check_one_graph(lambda f, r: multiscale(f, r, sampling="exact", invalid="zero"), pyramid(), r)
    check_one_graph(lambda f, r: roialign.roi_align(f, r, 2, 0.25, (1, 2), backend="reference"), f, r)
    check_one_graph(lambda f, r: roialign.roi_align(f, r, 2, sampling="random", seed=2**64 - 3), f, r)
    check_one_graph(lambda r: roialign.fpn_levels(r, SCALES), r)
    check_one_graph(lambda x, y: roialign.bilinear_interpolate(f, x, y), values(4), values(2, 1))


def test_layouts_and_dtypes() -> None:
    r = rois().float()
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        last = features().to(dtype).contiguous(memory_format=torch.channels_last)
        check_one_graph(lambda f, r: roialign.roi_align(f, r, 2, 0.25), last, r)
    nhwc = features().permute(0, 2, 3, 1).contiguous()
    check_one_graph(lambda f, r: roialign.roi_align(f, r, 2, 0.25, layout="NHWC"), nhwc, r)


def test_out_and_twins() -> None:
    f, r = features(), rois()

    def into(f: Tensor, r: Tensor, out: Tensor) -> Tensor:
        return roialign.roi_align(f, r, 2, 0.25, out=out)

    check_one_graph(into, f, r, torch.empty(3, 3, 2, 2, dtype=torch.float64))
    check_one_graph(lambda g, f, r: roialign.roi_align_backward(g, f, r, 0.25), values(3, 3, 2, 2), f, r)


def test_modules() -> None:
    check_one_graph(RoIAlign(3, 0.25, sampling="exact"), features(), rois())
    check_one_graph(MultiScaleRoIAlign(3, SCALES), pyramid(), rois())


def test_vmap_within() -> None:
    f, r = torch.stack([features()] * 3), torch.stack([rois()] * 3)
    check_one_graph(torch.vmap(OPERATORS["grid"]), f, r)
    check_one_graph(torch.vmap(OPERATORS["exact"], in_dims=(0, None)), f, rois())


def test_drawn_seeds_follow_torchs_generator() -> None:
    def pool(f: Tensor, r: Tensor) -> Tensor:
        return roialign.roi_align(f, r, 2, 0.25, 2, sampling="random")

    compiled = torch.compile(pool, backend="aot_eager", fullgraph=True)
    answers = []
    for function in (compiled, compiled, pool):
        torch.manual_seed(4)
        answers.append(function(features(), rois()))
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(answers[0], answers[2])
    assert not torch.equal(compiled(features(), rois()), answers[0])


def test_checks_of_values_hold_in_the_graph() -> None:
    compiled = torch.compile(OPERATORS["grid"], backend="aot_eager", fullgraph=True)
    compiled(features(), rois())
    for column, value, text in (
        (0, 2.0, "expected an integer batch index 0 <= index < 2, got 2"),
        (3, np.nan, "finite"),
    ):
        bad = rois()
        bad[1, column] = value
        with pytest.raises(ValueError, match=rf"rois\[1\]: .*{text}"):
            compiled(features(), bad)


def test_forward_mode_is_right_or_an_error_but_never_zero() -> None:
    def slope(f: Tensor, r: Tensor) -> Any:
        return torch.func.jvp(OPERATORS["grid"], (f, r), (f, r))[1]

    right = slope(features(), rois())
    inner = torch.compile(OPERATORS["grid"], backend="aot_eager")
    assert torch.equal(torch.func.jvp(inner, (features(), rois()), (features(), rois()))[1], right)
    with pytest.raises(torch._dynamo.exc.Unsupported):
        torch.compile(slope, backend="aot_eager", fullgraph=True)(features(), rois())


@pytest.mark.slow
def test_inductor() -> None:
    """The default backend, which writes code: forward, and backward into channels last."""

    def loss(a: Tensor, b: Tensor, r: Tensor) -> Tensor:
        return multiscale([a.cos(), b.cos()], r).square().sum()

    gradients = []
    for function in (torch.compile(loss, fullgraph=True), loss):
        maps = [level.float().contiguous(memory_format=torch.channels_last).requires_grad_() for level in pyramid()]
        leaves = [*maps, rois().requires_grad_()]
        gradients.append(torch.autograd.grad(function(*leaves), leaves))
    for seen, right in zip(*gradients, strict=True):
        torch.testing.assert_close(seen, right, rtol=1e-4, atol=1e-5)
        assert seen.stride() == right.stride()


# Export


class Head(nn.Module):
    """A pyramid's features, pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = MultiScaleRoIAlign((2, 3), SCALES, sampling="exact")

    def forward(self, first: Tensor, second: Tensor, boxes: Tensor) -> Any:
        return self.pool([first.relu(), second.relu()], boxes)


@pytest.mark.parametrize("strict", [True, False], ids=["strict", "not strict"])
def test_export_for_any_number_of_boxes(strict: bool) -> None:
    head, maps = Head(), pyramid()
    dynamic = ({0: torch.export.Dim.AUTO}, {0: torch.export.Dim.AUTO}, {0: torch.export.Dim.DYNAMIC})
    program = torch.export.export(head, (*maps, rois()), dynamic_shapes=dynamic, strict=strict)
    names = [node.name for node in program.graph.nodes if node.op == "call_function"]
    assert names == ["relu", "relu_1", "separable_forward"]
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    buffer.seek(0)
    loaded = torch.export.load(buffer).module()
    for count in (0, 1, 3, 8):
        assert torch.equal(loaded(*maps, boxes_of(count)), head(*maps, boxes_of(count)))


class Points(nn.Module):
    def forward(self, f: Tensor, x: Tensor, y: Tensor) -> Any:
        return roialign.bilinear_interpolate(f, x, y)


@pytest.mark.parametrize("strict", [True, False], ids=["strict", "not strict"])
def test_export_for_any_number_of_points(strict: bool) -> None:
    f, any_size = features()[0], torch.export.Dim.DYNAMIC
    shapes = ({1: any_size}, {0: any_size}, {0: any_size, 1: any_size})
    program = torch.export.export(Points(), (f, values(4), values(2, 4)), dynamic_shapes=shapes, strict=strict)
    for count in (5, 2):
        x, y = values(count, seed=1), values(3, count, seed=2)
        assert torch.equal(program.module()(f[:, :5], x, y), Points()(f[:, :5], x, y))


class Heads(nn.Module):
    """An operator of either family, between others."""

    def forward(self, first: Tensor, second: Tensor, boxes: Tensor) -> Any:
        mean = multiscale([first.relu(), second.relu()], boxes)
        return mean, roialign.roi_align(first, boxes, (2, 3), SCALES[0], mode="max").neg()


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
@pytest.mark.slow
def test_compiled_ahead_of_time(tmp_path: Path) -> None:
    """A package of AOTInductor, whose calls leave out empty lists."""
    arguments, dynamic = (*pyramid(), rois()), ({}, {}, {0: torch.export.Dim.DYNAMIC})
    program = torch.export.export(Heads(), arguments, dynamic_shapes=dynamic)
    options = {"aot_inductor.compile_wrapper_opt_level": "O0", "aot_inductor.precompile_headers": False}
    path = torch._inductor.aoti_compile_and_package(
        program, package_path=str(tmp_path / "heads.pt2"), inductor_configs=options
    )
    package = torch._inductor.aoti_load_package(path)
    for count in (0, 1, 3, 8):
        seen, right = (model(*pyramid(), boxes_of(count)) for model in (package, Heads()))
        for answer, expected in zip(seen, right, strict=True):
            assert torch.equal(answer, expected)


# The operators themselves, by torch's own checks

SETTING = [False, SCALES, "grid", [0, 2], 0.5, None, False, 0.0, 0, [20.0, 3.0], None, None, "rois"]


@pytest.mark.parametrize("levels", [None, [0, 1, 0]], ids=["by size", "given"])
@pytest.mark.parametrize("tangents", [0, 1])
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch 2.14 reads it itself
def test_opcheck(levels: list[int] | None, tangents: int) -> None:
    operators = torch.ops.roialign
    maps = [level.requires_grad_() for level in pyramid()]
    boxes, gradient = rois().requires_grad_(), values(3, 3, 2, 3).requires_grad_()
    given = None if levels is None else torch.tensor(levels)
    where = (boxes, given, None, [values(3, 5, seed=3).requires_grad_()] * tangents or None)
    sizes = [size for level in maps for size in level.shape]
    calls = [
        (operators.separable_forward.default, (maps, *where, [3, 2, 3], [], *SETTING)),
        (operators.separable_adjoint_features.default, (gradient, *where, [], sizes, *SETTING)),
    ]
    if not tangents:
        calls.append((operators.separable_adjoint_boxes.default, (maps, gradient, *where, [], [], *SETTING)))
    for operator, arguments in calls:
        torch.library.opcheck(operator, arguments)


def test_opcheck_of_the_assignment_to_levels() -> None:
    torch.library.opcheck(torch.ops.roialign.fpn_levels.default, (rois()[:, 1:], SCALES, 224.0, 4.0))
