"""The pointwise family on tensors: every derivative, compiled graphs, batches, modules that learn."""

from __future__ import annotations

import copy
import doctest
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

import roialign
from roialign.torch import (
    DeformRoIPool,
    DeformRoIPoolPack,
    ModulatedDeformRoIPoolPack,
    MultiScaleRoIAlignRotated,
    PSRoIAlign,
    PSRoIPool,
    RiRoIAlignRotated,
    RoIAlignRotated,
    RoIPool,
)
from roialign.torch.modules import deformable, pointwise
from tests.tables.tensors import values

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:torch._dynamo")

IMAGES = torch.tensor([0, 1])
BINS = (2, 3)


def boxes() -> Tensor:
    return torch.tensor([[1.23, 2.17, 5.31, 4.42], [-1.13, 0.37, 4.72, 6.11]], dtype=torch.float64)


def turned() -> Tensor:
    return torch.tensor([[3.2, 2.1, 3.3, 2.4, 0.3], [2.1, 3.3, 4.7, 3.1, -2.0]], dtype=torch.float64)


def per_bin() -> tuple[Tensor, Tensor]:
    return values(2, 2, *BINS, seed=5), values(2, *BINS, seed=6).abs()


WITH: dict[str, Any] = {"batch_indices": IMAGES}
#: Every operator as a function of a map and of what moves its points, its channels, and what it is given.
OPERATORS: dict[str, tuple[Any, int, tuple[Tensor, ...]]] = {
    "max": (lambda f, b: roialign.roi_align(f, b, BINS, mode="max", **WITH), 2, (boxes(),)),
    "max, exact": (lambda f, b: roialign.roi_align(f, b, BINS, mode="max", sampling="exact", **WITH), 2, (boxes(),)),
    "max, random": (
        lambda f, b: roialign.roi_align(f, b, BINS, 1.0, 2, mode="max", sampling="random", seed=3, **WITH),
        2,
        (boxes(),),
    ),
    "rotated": (lambda f, b: roialign.roi_align_rotated(f, b, BINS, **WITH), 2, (turned(),)),
    "rotated, max": (lambda f, b: roialign.roi_align_rotated(f, b, BINS, 1.0, 2, mode="max", **WITH), 2, (turned(),)),
    "rotation-invariant": (
        lambda f, b: roialign.riroi_align_rotated(f, b, BINS, num_orientations=2, **WITH),
        4,
        (turned(),),
    ),
    "deformable": (lambda f, b, o: roialign.deform_roi_pool(f, b, o, BINS, **WITH), 2, (boxes(), per_bin()[0])),
    "modulated": (
        lambda f, b, o, m: roialign.deform_roi_pool(f, b, o, BINS, mask=m, **WITH),
        2,
        (boxes(), *per_bin()),
    ),
    "position-sensitive": (lambda f, b: roialign.ps_roi_align(f, b, BINS, **WITH), 6, (boxes(),)),
    "position-sensitive pool": (lambda f: roialign.ps_roi_pool(f, boxes(), BINS, **WITH), 6, ()),
    "RoIPool": (lambda f: roialign.roi_pool(f, boxes(), BINS, **WITH), 2, ()),
}
#: Those whose boxes have no gradient.
FUNCTIONS_OF_BOXES: dict[str, Any] = {
    "position-sensitive pool": lambda f, b: roialign.ps_roi_pool(f, b, BINS, **WITH),
    "RoIPool": lambda f, b: roialign.roi_pool(f, b, BINS, **WITH),
}
every_operator = pytest.mark.parametrize("name", OPERATORS)


def leaves(name: str) -> tuple[Any, Tensor, list[Tensor]]:
    function, channels, movers = OPERATORS[name]
    movers = tuple(mover.clone().requires_grad_() for mover in movers)
    return function, values(2, channels, 5, 6, seed=1).requires_grad_(), list(movers)


@every_operator
def test_first_order(name: str) -> None:
    function, features, movers = leaves(name)
    assert gradcheck(function, (features, *movers), check_forward_ad=True)


@every_operator
def test_second_order_in_the_features(name: str) -> None:
    """A maximum too: as long as the same points win it is linear."""
    function, features, movers = leaves(name)
    fixed = [mover.detach() for mover in movers]
    assert gradgradcheck(lambda f: function(f, *fixed), (features,), check_fwd_over_rev=True)


def test_second_order_in_features_and_masks() -> None:
    """Linear in either, and so in both: the mixed derivative is all there is."""
    function, features, (box, offset, mask) = leaves("modulated")
    fixed = (box.detach(), offset.detach())
    assert gradgradcheck(lambda f, m: function(f, *fixed, m), (features, mask), check_fwd_over_rev=True)
    torch.func.hessian(lambda m: function(features.detach(), *fixed, m).square().sum())(mask.detach())


def test_mixed_second_order_of_masks_with_all_else() -> None:
    """A loss that is linear in the slope along the masks, differentiated in boxes and offsets: order 1 in those."""
    function, features, (box, offset, mask) = leaves("modulated")
    gradient = values(2, 2, *BINS, seed=7)
    weights = values(2, *BINS, seed=8)

    def slope(*movers: Tensor) -> Tensor:
        (along,) = torch.autograd.grad((function(features, *movers, mask) * gradient).sum(), mask, create_graph=True)
        return (along * weights).sum()

    assert gradcheck(slope, (box, offset))


@pytest.mark.parametrize(
    ("name", "index"),
    [(name, index) for name, (*_, movers) in OPERATORS.items() for index in range(len(movers)) if index < 2],
)
def test_second_order_in_boxes_and_offsets_is_an_error(name: str, index: int) -> None:
    """Never zeros: backward of backward, and forward of backward."""
    function, features, movers = leaves(name)
    fixed = [mover.detach() for mover in movers]

    def loss(mover: Tensor) -> Tensor:
        given = [*fixed[:index], mover, *fixed[index + 1 :]]
        return function(features.detach(), *given).square().sum()

    message = "pointwise: derivatives with respect to boxes.* are implemented up to order 1"
    (slope,) = torch.autograd.grad(loss(movers[index]), movers[index], create_graph=True)
    with pytest.raises(NotImplementedError, match=message):
        slope.square().sum().backward()
    with pytest.raises(NotImplementedError, match=message):
        torch.func.jvp(torch.func.grad(loss), (fixed[index],), (torch.ones_like(fixed[index]),))


@every_operator
def test_the_arrays_answer_and_gradients_on_every_backend(name: str) -> None:
    function, features, movers = leaves(name)
    right = function(features, *movers)
    gradient = values(*right.shape, seed=9)
    found = torch.autograd.grad(right, (features, *movers), gradient)
    for index, part in enumerate(found):
        assert part.shape == (features, *movers)[index].shape
    arrays = [tensor.detach().numpy() for tensor in (features, *movers)]
    with_arrays = {"batch_indices": IMAGES.numpy()}
    saved = dict(WITH)
    WITH.update(with_arrays)
    try:
        answer = function(*arrays) if movers else None
    finally:
        WITH.update(saved)
    if answer is not None:
        np.testing.assert_array_equal(answer, right.detach().numpy())


@every_operator
def test_one_compiled_graph(name: str) -> None:
    function, features, movers = leaves(name)
    torch._dynamo.reset()
    compiled = torch.compile(function, backend="aot_eager", fullgraph=True)
    answer, right = compiled(features, *movers), function(features, *movers)
    assert torch.equal(answer, right)
    gradient = values(*right.shape, seed=9)
    for seen, wanted in zip(
        torch.autograd.grad(answer, (features, *movers), gradient),
        torch.autograd.grad(right, (features, *movers), gradient),
        strict=True,
    ):
        assert torch.equal(seen, wanted)


@every_operator
def test_exported_for_any_number_of_rois(name: str) -> None:
    """One custom op in a program of `torch.export`, which takes another number of boxes than it was captured with."""
    function, features, movers = leaves(name)
    if not movers:  # their boxes are constants of the function
        function, movers = FUNCTIONS_OF_BOXES[name], [boxes()]

    class Model(nn.Module):
        def forward(self, features: Tensor, images: Tensor, *movers: Tensor) -> Tensor:
            WITH["batch_indices"] = images
            try:
                answer: Tensor = function(features, *movers)
            finally:
                WITH["batch_indices"] = IMAGES
            return answer

    count = torch.export.Dim.DYNAMIC
    arguments = (features.detach(), IMAGES, *(mover.detach() for mover in movers))
    shapes = {"features": None, "images": {0: count}, "movers": tuple({0: count} for _ in movers)}
    program = torch.export.export(Model(), arguments, dynamic_shapes=shapes)
    names = [str(node.target) for node in program.graph.nodes if "roialign" in str(node.target)]
    assert names == ["roialign.pointwise_forward.default"]
    again = [mover.detach().repeat(3, *[1] * (mover.dim() - 1)) for mover in movers]
    seen = program.module()(features.detach(), IMAGES.repeat(3), *again)
    assert torch.equal(seen, Model()(features.detach(), IMAGES.repeat(3), *again))


@every_operator
def test_vmap(name: str) -> None:
    function, features, movers = leaves(name)
    batch = torch.stack([features.detach(), 2 * features.detach() - 1])
    moved = [torch.stack([mover.detach(), mover.detach() + 0.1]) for mover in movers]
    seen = torch.vmap(function)(batch, *moved)
    for index in range(2):
        right = function(batch[index], *(mover[index] for mover in moved))
        torch.testing.assert_close(seen[index], right, rtol=1e-12, atol=1e-12)
    same_boxes = torch.vmap(lambda f: function(f, *(mover.detach() for mover in movers)))(batch)
    torch.testing.assert_close(same_boxes[1], function(batch[1], *movers), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_twins_on_tensors(backend: str) -> None:
    features, offset, mask = values(2, 3, 5, 6), *per_bin()
    gradient = values(2, 3, *BINS, seed=2)
    found = roialign.deform_roi_pool_backward(gradient, features, boxes(), offset, mask=mask, backend=backend, **WITH)
    right = roialign.deform_roi_pool_backward(
        gradient.numpy(),
        features.numpy(),
        boxes().numpy(),
        offset.numpy(),
        mask=mask.numpy(),
        backend=backend,
        batch_indices=IMAGES.numpy(),
    )
    for seen, wanted in zip(found, right, strict=True):
        np.testing.assert_allclose(seen.numpy(), wanted, rtol=1e-12, atol=1e-12)


ROWS = torch.cat([IMAGES[:, None].double(), boxes()], dim=1)
TURNED = torch.cat([IMAGES[:, None].double(), turned()], dim=1)
MODULES: list[tuple[nn.Module, str, tuple[Any, ...], Any]] = [
    (
        RoIAlignRotated(BINS, 0.5, clockwise=True),
        "RoIAlignRotated(output_size=(2, 3), spatial_scale=0.5, clockwise=True)",
        (values(2, 2, 5, 6), TURNED),
        roialign.roi_align_rotated(values(2, 2, 5, 6), TURNED, BINS, 0.5, clockwise=True),
    ),
    (
        RiRoIAlignRotated(2, num_orientations=2),
        "RiRoIAlignRotated(output_size=2, num_orientations=2)",
        (values(2, 4, 5, 6), TURNED),
        roialign.riroi_align_rotated(values(2, 4, 5, 6), TURNED, 2, num_orientations=2),
    ),
    (
        PSRoIAlign(BINS, 0.5, 2),
        "PSRoIAlign(output_size=(2, 3), spatial_scale=0.5, sampling_ratio=2)",
        (values(2, 6, 5, 6), ROWS),
        roialign.ps_roi_align(values(2, 6, 5, 6), ROWS, BINS, 0.5, 2),
    ),
    (
        PSRoIPool(BINS),
        "PSRoIPool(output_size=(2, 3))",
        (values(2, 6, 5, 6), ROWS),
        roialign.ps_roi_pool(values(2, 6, 5, 6), ROWS, BINS),
    ),
    (
        RoIPool(2),
        "RoIPool(output_size=2)",
        (values(2, 2, 5, 6), ROWS),
        roialign.roi_pool(values(2, 2, 5, 6), ROWS, 2),
    ),
    (
        DeformRoIPool(BINS, gamma=0.2),
        "DeformRoIPool(output_size=(2, 3), gamma=0.2)",
        (values(2, 2, 5, 6), ROWS, *per_bin()),
        roialign.deform_roi_pool(values(2, 2, 5, 6), ROWS, per_bin()[0], BINS, gamma=0.2, mask=per_bin()[1]),
    ),
    (
        MultiScaleRoIAlignRotated(2, [1.0, 0.5]),
        "MultiScaleRoIAlignRotated(output_size=2, spatial_scales=[1.0, 0.5])",
        ([values(2, 2, 5, 6), values(2, 2, 3, 3)], TURNED),
        roialign.multiscale_roi_align_rotated([values(2, 2, 5, 6), values(2, 2, 3, 3)], TURNED, 2, [1.0, 0.5]),
    ),
]


@pytest.mark.parametrize(
    ("module", "shown", "arguments", "answer"), MODULES, ids=[type(row[0]).__name__ for row in MODULES]
)
def test_modules_are_their_functions(module: nn.Module, shown: str, arguments: Any, answer: Any) -> None:
    for copied in (module, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert repr(copied) == shown
        assert torch.equal(copied(*arguments), answer)


@pytest.mark.parametrize("pack", [DeformRoIPoolPack, ModulatedDeformRoIPoolPack])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_pack_starts_as_roi_align_and_learns_its_offsets(pack: Any, layout: str) -> None:
    """Bins that look for a bright column: the offsets move there."""
    torch.manual_seed(0)
    pool = pack(BINS, 2, 16, sampling_ratio=2, gamma=1.0, layout=layout).double()
    features, rois = values(2, 2, 12, 12).abs(), torch.tensor([[0, 2.0, 2.0, 7.0, 6.0]], dtype=torch.float64)
    features[:, :, :, 8:] += 3.0
    given = features if layout == "NCHW" else features.permute(0, 2, 3, 1)
    start = pool(given, rois)
    plain = roialign.roi_align(given, rois, BINS, 1.0, 2, layout=layout)
    factor = 0.5 if pack is ModulatedDeformRoIPoolPack else 1.0
    torch.testing.assert_close(start, factor * plain, rtol=1e-12, atol=1e-12)
    optimizer = torch.optim.Adam(pool.parameters(), lr=0.003)
    for _ in range(60):
        optimizer.zero_grad()
        loss = -pool(given, rois).mean()
        loss.backward()
        optimizer.step()
    assert pool(given, rois).mean() > start.mean() + 0.2
    offset, _ = pool.learned(given, rois)
    assert offset[:, 0].mean() > 0.01
    wrong = pool.offset_fc[0].weight.grad
    assert wrong is not None
    assert wrong.abs().max() > 0


def test_examples_of_the_modules() -> None:
    failed, attempted = map(sum, zip(*map(doctest.testmod, (pointwise, deformable)), strict=True))
    assert failed == 0
    assert attempted > 20


def test_the_turning_of_channels_counts_in_every_bin() -> None:
    """More bins than are prepared at once. On a map of one pixel, all give the same second derivative."""

    features, rois = values(1, 8, 1, 1), torch.tensor([[0, 0.0, 0.0, 0.5, 0.5, 20.0]], dtype=torch.float64)
    turning = torch.tensor([[0, 0.0, 0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)

    def derivative(bins: int) -> torch.Tensor:
        def to_features(boxes: torch.Tensor) -> torch.Tensor:
            def pool(level: torch.Tensor) -> torch.Tensor:
                return roialign.riroi_align_rotated(level, boxes, bins, sampling_ratio=1)

            pooled, pull = torch.func.vjp(pool, features)
            weights = torch.arange(8.0, dtype=torch.float64).reshape(1, 8, 1, 1).expand_as(pooled)
            (gradient,) = pull(weights)
            return gradient

        return torch.func.jvp(to_features, (rois,), (turning,))[1] / bins**2

    of_one, of_all = derivative(1), derivative(400)
    assert of_one.any()
    torch.testing.assert_close(of_all, of_one, rtol=1e-9, atol=0)
