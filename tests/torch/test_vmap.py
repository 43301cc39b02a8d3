"""torch.vmap: one more dimension on features, on boxes, on both, under and over derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import roialign
from tests.tables.tensors import OPERATORS, SCALES, multiscale, pyramid, rois, values

MEMBERS = 3
every_operator = pytest.mark.parametrize("name", OPERATORS)


def batches() -> tuple[Tensor, Tensor]:
    """Features and boxes that differ between the members."""
    boxes = torch.stack([rois(), rois(), rois()])
    boxes[..., 1:] += torch.tensor([0.0, 0.7, -1.3], dtype=torch.float64)[:, None, None]
    boxes[1, :, 0] = 1 - boxes[1, :, 0]
    return values(MEMBERS, 2, 3, 7, 9), boxes


def one_by_one(function: Callable[..., Any], dims: tuple[int | None, ...], *batched: Tensor) -> Any:
    """What vmap means."""
    members = [
        function(
            *[tensor if dim is None else tensor.select(dim, index) for tensor, dim in zip(batched, dims, strict=True)]
        )
        for index in range(MEMBERS)
    ]
    return torch.utils._pytree.tree_map(lambda *parts: torch.stack(parts), *members)


def check(function: Callable[..., Any], dims: tuple[int | None, ...], *batched: Tensor) -> None:
    seen = torch.vmap(function, in_dims=dims)(*batched)
    right = one_by_one(function, dims, *batched)
    torch.testing.assert_close(seen, right, rtol=1e-12, atol=1e-12)


@every_operator
@pytest.mark.parametrize("dims", [(0, None), (None, 0), (0, 0)], ids=["features", "boxes", "both"])
def test_every_operator(name: str, dims: tuple[int | None, int | None]) -> None:
    f, boxes = batches()
    check(OPERATORS[name], dims, f if dims[0] == 0 else f[0], boxes if dims[1] == 0 else boxes[0])


def test_any_dimension() -> None:
    f, boxes = batches()
    check(OPERATORS["grid"], (4, 1), f.movedim(0, 4), boxes.movedim(0, 1))
    check(OPERATORS["exact"], (1, None), f.movedim(0, 1), boxes[0])


@every_operator
@pytest.mark.parametrize("dims", [(0, None), (None, 0), (0, 0)], ids=["features", "boxes", "both"])
def test_gradients_within(name: str, dims: tuple[int | None, int | None]) -> None:
    f, boxes = batches()

    def loss(f: Tensor, b: Tensor) -> Tensor:
        return OPERATORS[name](f, b).square().sum()

    given = (f if dims[0] == 0 else f[0], boxes if dims[1] == 0 else boxes[0])
    check(torch.func.grad(loss, argnums=(0, 1)), dims, *given)


@pytest.mark.parametrize("name", ["grid", "exact"])
def test_second_derivatives_within(name: str) -> None:
    f, boxes = batches()

    def loss(f: Tensor, b: Tensor) -> Tensor:
        return OPERATORS[name](f, b).square().sum()

    def slope(f: Tensor, b: Tensor) -> Any:
        return torch.func.jvp(torch.func.grad(loss, argnums=(0, 1)), (f, b), (f.cos(), b.cos()))[1]

    check(slope, (0, 0), f, boxes)
    check(torch.func.hessian(loss, argnums=1), (0, 0), f[..., :1, :, :], boxes)


def test_batched_tangents_and_cotangents() -> None:
    """Only what is multiplied with differs: features and boxes are the same for all."""
    f, boxes = (batched[0] for batched in batches())
    tangents, cotangents = values(MEMBERS, 3, 5, seed=8), values(MEMBERS, 3, 3, 2, 3, seed=9)
    check(lambda t: torch.func.jvp(OPERATORS["exact"], (f, boxes), (f, t))[1], (0,), tangents)
    check(torch.func.vjp(OPERATORS["exact"], f, boxes)[1], (0,), cotangents)


def test_nested() -> None:
    f, boxes = batches()
    once = torch.vmap(OPERATORS["grid"], in_dims=(None, 0))
    seen = torch.vmap(once, in_dims=(0, None))(f, boxes)
    for i in range(MEMBERS):
        for j in range(MEMBERS):
            torch.testing.assert_close(seen[i, j], OPERATORS["grid"](f[i], boxes[j]), rtol=1e-12, atol=1e-12)


def test_pyramid_with_levels_by_size_and_as_given() -> None:
    first, second = (torch.stack([level, 2 * level, level.cos()]) for level in pyramid())
    boxes = batches()[1]
    levels = torch.tensor([[0, 1, 0], [1, 1, 0], [0, 0, 0]])
    check(lambda a, b, r: multiscale([a, b], r), (0, 0, 0), first, second, boxes)
    check(lambda a, r: multiscale([a, second[0]], r), (0, 0), first, boxes)
    check(lambda a, b, r, i: multiscale([a, b], r, levels=i), (0, 0, 0, 0), first, second, boxes, levels)
    check(lambda a, b, i: multiscale([a, b], boxes[0], levels=i), (0, 0, 0), first, second, levels)
    check(lambda r: roialign.fpn_levels(r, SCALES, canonical_size=20, canonical_level=3), (0,), boxes)


def test_lists_and_indices() -> None:
    f, boxes = batches()
    images = torch.tensor([[0, 1, 1], [1, 0, 1], [0, 0, 1]])
    check(lambda f, b, i: roialign.roi_align(f, b, 2, 1 / 4, batch_indices=i), (0, 0, 0), f, boxes[..., 1:], images)
    check(lambda f, b: roialign.roi_align(f, [b[:1], b[1:]], 2, 1 / 4), (0, 0), f, boxes[..., 1:])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_images_are_counted_beyond_the_precision_of_the_boxes(dtype: torch.dtype) -> None:
    """Member 2 of 3 with 2000 images each: its images are numbers beyond 2048."""
    f = torch.arange(6000.0).reshape(3, 2000, 1, 1, 1)
    boxes = torch.tensor([[1999.0, 0, 0, 1, 1]], dtype=dtype).expand(3, 1, 5)
    answer = torch.vmap(lambda f, r: roialign.roi_align(f, r, 1, sampling_ratio=1))(f, boxes)
    image = int(boxes[0, 0, 0])
    assert answer.flatten().tolist() == [image + 2000.0 * member for member in range(3)]


@pytest.mark.parametrize("image", [2.0, -1.0, 0.5, float("nan")])
def test_an_image_of_another_member_is_none_of_ones_own(image: float) -> None:
    f, boxes = batches()
    boxes[1, 2, 0] = image
    message = r"rois\[2\]: expected an integer batch index 0 <= index < 2, got .* \(member 1 of torch.vmap's batch\)"
    with pytest.raises(ValueError, match=message):
        torch.vmap(OPERATORS["grid"])(f, boxes)
    zeroed = torch.vmap(lambda f, r: roialign.roi_align(f, r, 2, 1 / 4, invalid="zero"))(f, boxes)
    assert not zeroed[1, 2].any()
    assert zeroed[1, :2].all()


#: Functions that fail for a box that begins at NaN, and what their errors name.
FAILING: dict[str, tuple[str, Callable[..., Any]]] = {
    "grid": ("rois", OPERATORS["grid"]),
    "random": ("rois", OPERATORS["random"]),
    "maximum": ("rois", lambda f, r: roialign.roi_align(f, r, 2, 1 / 4, mode="max")),
    "gradient": ("rois", torch.func.grad(lambda f, r: OPERATORS["grid"](f, r).sum())),
    "levels by size": ("rois", lambda _f, r: roialign.fpn_levels(r, SCALES)),
    "levels": ("levels", lambda f, r: multiscale([f, f], rois(), levels=torch.where(r[:, 1].isnan(), 2, 0))),
}


@pytest.mark.parametrize("name", FAILING)
def test_an_error_names_the_row_within_its_member(name: str) -> None:
    argument, function = FAILING[name]
    f, boxes = batches()
    boxes[2, 1, 1] = torch.nan
    with pytest.raises(ValueError, match=rf"^{argument}\[1\]: expected .* \(member 2 of torch.vmap's batch\)$"):
        torch.vmap(function)(f, boxes)
    nested = torch.vmap(torch.vmap(function))
    with pytest.raises(ValueError, match=rf"^{argument}\[1\]: .* \(member 1 of [^(]*\) \(member 2 of [^(]*\)$"):
        nested(torch.stack([f, f]), torch.stack([boxes.nan_to_num(), boxes]))


def test_an_error_names_the_row_in_a_list_of_its_member() -> None:
    f, boxes = batches()
    boxes[2, 1, 1] = torch.nan
    with pytest.raises(ValueError, match=r"^rois\[1\]\[0\]: expected finite .* \(member 2 of torch.vmap's batch\)$"):
        torch.vmap(lambda f, r: roialign.roi_align(f, [r[:1, 1:], r[1:, 1:]], 2, 1 / 4))(f, boxes)


def test_random_points_that_are_drawn_need_a_say_on_randomness() -> None:
    f, boxes = batches()
    same = torch.stack([f[0]] * MEMBERS)

    def pool(f: Tensor) -> Any:
        return roialign.roi_align(f, boxes[0], 2, 1 / 4, 1, sampling="random")

    with pytest.raises(RuntimeError, match="randomness"):
        torch.vmap(pool)(same)
    alike = torch.vmap(pool, randomness="same")(same)
    assert torch.equal(alike[0], alike[1])
    unlike = torch.vmap(pool, randomness="different")(same)
    assert not torch.equal(unlike[0], unlike[1])
