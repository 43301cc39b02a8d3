"""Poolers: every level in one call, with the answer of the operator on each level; learned offsets; their names."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import roialign
import roialign.detection
from roialign.detection import POOLERS, DetectorSettings, make_pooler, mask_rcnn, oriented_rcnn
from roialign.detection.rotated_boxes import from_upright, hulls
from roialign.torch import DeformRoIPoolPack, ModulatedDeformRoIPoolPack
from tests.detection.detectors import SETTINGS

SCALES = (1 / 4, 1 / 8)
STRIDES = (4, 8)
CHANNELS = 2


def _maps() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(2, CHANNELS, side, side, generator=generator, dtype=torch.float64) for side in (32, 16)]


#: Of two images; on both levels in turn, so that rows do not come in the order of levels.
BOXES = [
    torch.tensor([[3.0, 4, 40, 50], [0.0, 0, 120, 126], [60.0, 3, 64, 9]], dtype=torch.float64),
    torch.tensor([[0.0, 0, 128, 128], [10.0, 10, 30, 40]], dtype=torch.float64),
]

#: What each pooler is on one level.
ON_ONE_LEVEL: dict[str, Callable[[Tensor, Tensor, int, float], Tensor]] = {
    "exact": lambda level, rois, size, scale: roialign.roi_align(level, rois, size, scale, sampling="exact"),
    "align": lambda level, rois, size, scale: roialign.roi_align(level, rois, size, scale, 2),
    "align-adaptive": roialign.roi_align,
    "align-unshifted": lambda level, rois, size, scale: roialign.roi_align(level, rois, size, scale, 2, aligned=False),
    "max": lambda level, rois, size, scale: roialign.roi_align(level, rois, size, scale, mode="max", sampling="exact"),
    "pool": roialign.roi_pool,
}
#: And of rotated boxes.
ROTATED_ON_ONE_LEVEL: dict[str, Callable[[Tensor, Tensor, int, float], Tensor]] = {
    "rotated": lambda level, rois, size, scale: roialign.roi_align_rotated(level, rois, size, scale, 2, clockwise=True),
    "rotated-adaptive": partial(roialign.roi_align_rotated, clockwise=True),
}
LEARNED = {"deformable": DeformRoIPoolPack, "deformable-modulated": ModulatedDeformRoIPoolPack}


#: Boxes of the same areas, rotated.
ROTATED_BOXES = [torch.cat([from_upright(boxes)[:, :4], boxes[:, :1] / 30 - 0.7], dim=1) for boxes in BOXES]


def _level_by_level(
    pool: Callable[[Tensor, Tensor, int, float], Tensor], maps: list[Tensor], size: int, boxes: list[Tensor] = BOXES
) -> Tensor:
    rois = torch.cat([torch.cat([torch.full((len(b), 1), float(i)), b], dim=1) for i, b in enumerate(boxes)])
    levels = roialign.fpn_levels(BOXES, SCALES)  # they follow from the areas, which are the same
    assert set(levels.tolist()) == {0, 1}
    assert levels.diff().min() < 0, "the levels come mixed"
    out = torch.zeros(len(rois), CHANNELS, size, size, dtype=torch.float64)
    for level, (features, scale) in enumerate(zip(maps, SCALES, strict=True)):
        rows = torch.where(levels == level)[0]
        out[rows] = pool(features, rois[rows], size, scale)
    return out


def test_every_pooler_is_tested() -> None:
    assert set(POOLERS) == set(ON_ONE_LEVEL) | set(ROTATED_ON_ONE_LEVEL) | set(LEARNED)


@pytest.mark.parametrize("name", ON_ONE_LEVEL)
def test_a_pooler_is_its_operator_on_the_level_of_each_box(name: str) -> None:
    maps = _maps()
    pooled = make_pooler(name, 7, STRIDES, CHANNELS)(maps, BOXES)
    assert torch.equal(pooled, _level_by_level(ON_ONE_LEVEL[name], maps, 7))


@pytest.mark.parametrize("name", ROTATED_ON_ONE_LEVEL)
def test_a_pooler_of_rotated_boxes_is_its_operator_on_the_level_of_each_box(name: str) -> None:
    maps = _maps()
    pooled = make_pooler(name, 7, STRIDES, CHANNELS, rotated=True)(maps, ROTATED_BOXES)
    assert torch.equal(pooled, _level_by_level(ROTATED_ON_ONE_LEVEL[name], maps, 7, ROTATED_BOXES))


@pytest.mark.parametrize("name", ON_ONE_LEVEL)
def test_the_other_poolers_pool_the_hulls_of_rotated_boxes(name: str) -> None:
    pooled = make_pooler(name, 7, STRIDES, CHANNELS, rotated=True)(_maps(), ROTATED_BOXES)
    expected = make_pooler(name, 7, STRIDES, CHANNELS)(_maps(), [hulls(boxes) for boxes in ROTATED_BOXES])
    assert torch.equal(pooled, expected)


@pytest.mark.parametrize("name", LEARNED)
def test_a_learned_pooler_is_its_module_on_the_level_of_each_box(name: str) -> None:
    torch.manual_seed(0)
    pool = make_pooler(f"{name}:deform_fc_channels=8,gamma=0.5", 3, STRIDES, CHANNELS).double()
    for parameter in pool.parameters():  # offsets start at zero
        torch.nn.init.normal_(parameter, std=0.3)

    def on_one_level(level: Tensor, rois: Tensor, size: int, scale: float) -> Tensor:
        single = LEARNED[name](size, CHANNELS, 8, scale, 2, 0.5).double()
        single.load_state_dict(pool.state_dict())
        pooled: Tensor = single(level, rois)
        return pooled

    maps = [level.requires_grad_() for level in _maps()]
    expected = _level_by_level(on_one_level, maps, 3)
    pooled = pool(maps, BOXES)
    torch.testing.assert_close(pooled, expected, rtol=0, atol=1e-12)
    unmoved = make_pooler("align", 3, STRIDES, CHANNELS)(maps, BOXES)
    assert (pooled - unmoved).abs().max() > 0.1, "the offsets move the bins"
    pooled.square().sum().backward()
    for parameter_name, parameter in pool.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name
    assert all(level.grad is not None and level.grad.abs().max() > 0 for level in maps)


@pytest.mark.parametrize("name", LEARNED)
def test_a_learned_pooler_starts_as_roi_align(name: str) -> None:
    maps = _maps()
    pooled = make_pooler(name, 7, STRIDES, CHANNELS).double()(maps, BOXES)
    expected = make_pooler("align", 7, STRIDES, CHANNELS)(maps, BOXES)
    torch.testing.assert_close(pooled, expected * (0.5 if "modulated" in name else 1.0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", POOLERS)
def test_no_boxes_give_no_rows(name: str) -> None:
    rotated = name in ROTATED_ON_ONE_LEVEL
    empty = torch.zeros(0, 5 if rotated else 4)
    pooled = make_pooler(name, 7, STRIDES, CHANNELS, rotated=rotated).double()(_maps(), [empty, empty])
    assert pooled.shape == (0, CHANNELS, 7, 7)


@pytest.mark.parametrize("model", ["mask-rcnn", "oriented-rcnn"])
@pytest.mark.parametrize("name", POOLERS)
def test_every_pooler_trains_in_a_detector(name: str, model: str) -> None:
    values = {**SETTINGS.to_dict(), "model": model, "pooler": name}
    if name in ROTATED_ON_ONE_LEVEL and model == "mask-rcnn":
        with pytest.raises(ValueError, match=f"pooler: expected a pooler of upright boxes, got '{name}'"):
            DetectorSettings.of(values)
        return
    torch.manual_seed(0)
    detector = DetectorSettings.of(values).build()
    masks = torch.zeros(1, 64, 64, dtype=torch.uint8)
    masks[:, 8:60, 8:60] = 1
    boxes = torch.tensor([[8.0, 8, 60, 60]])
    target = {"boxes": boxes, "rotated_boxes": from_upright(boxes), "labels": torch.tensor([1]), "masks": masks}
    losses = detector([torch.rand(3, 64, 64)], [target])
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    heads = detector.roi_heads
    for pooler in (heads.box_pooler, heads.mask_pooler) if model == "mask-rcnn" else (heads.box_pooler,):
        assert any(True for _ in pooler.parameters()) == (name in LEARNED)
        assert all(parameter.grad is not None for parameter in pooler.parameters())


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (torch.zeros(1, 8, 3, 3), r"return \[RoIs, 8, 7, 7\], got \(1, 8, 3, 3\)"),
        (torch.zeros(1, 7, 7, 8), r"return .*, got \(1, 7, 7, 8\)"),
        (torch.zeros(1, 8 * 7 * 7), r"return .*, got \(1, 392\)"),
        ([torch.zeros(1, 8, 7, 7)], "return a tensor, got list"),
    ],
    ids=["another size", "channels last", "flat", "a list"],
)
def test_what_a_pooler_of_ones_own_returns_is_checked(returned: object, message: str) -> None:
    class Own(nn.Module):
        def forward(self, *_: object) -> object:
            return returned

    detector = SETTINGS.build().eval()
    detector.roi_heads.box_pooler = Own()
    with pytest.raises((TypeError, ValueError), match=f"^pooler: expected it to {message}"):
        detector([torch.rand(3, 64, 64)])


def test_arguments_may_follow_a_name() -> None:
    maps = _maps()
    pooled = make_pooler("align:sampling_ratio=3,aligned=false,mode=max", 5, STRIDES, CHANNELS)(maps, BOXES)
    expected = roialign.multiscale_roi_align(maps, BOXES, 5, SCALES, 3, aligned=False, mode="max")
    assert torch.equal(pooled, expected)
    pool = make_pooler("rotated:sampling=random,sampling_ratio=2,seed=5", 5, STRIDES, CHANNELS, rotated=True)
    expected = roialign.multiscale_roi_align_rotated(
        maps, ROTATED_BOXES, 5, SCALES, 2, clockwise=True, sampling="random", seed=5
    )
    assert torch.equal(pool(maps, ROTATED_BOXES), expected)


WRONG: dict[str, tuple[str, str]] = {
    "a name": ("none", r"pooler: expected one of exact, align, .* or a function, got 'none'"),
    "an argument": (
        "align:ratio=2",
        r"pooler: align: expected ARGUMENT=VALUE with one of sampling_ratio, .* got 'ratio=2'",
    ),
    "no value": ("align:sampling_ratio", "got 'sampling_ratio'"),
    "decided": ("align:output_size=3", "got 'output_size=3'"),
    "rotated boxes": (
        "rotated",
        "pooler: expected a pooler of upright boxes, got 'rotated', which pools rotated boxes",
    ),
    "a word for a number": (
        "align:sampling_ratio=x",
        r"pooler: align:sampling_ratio=x: sampling_ratio: expected an int",
    ),
    "a number for a layer": ("deformable:deform_fc_channels=x", "pooler: deformable:deform_fc_channels=x: "),
    "a value": ("align:mode=mean", r"mode: expected .* got 'mean'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named(case: str) -> None:
    text, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        make_pooler(text, 7, STRIDES, CHANNELS)(_maps(), BOXES)


def test_a_function_makes_the_poolers_of_a_model() -> None:
    made: list[tuple[int, list[float]]] = []

    def pooler(output_size: int, scales: Any) -> torch.nn.Module:
        made.append((output_size, list(scales)))
        return torch.nn.Identity()

    with torch.device("meta"):
        mask_rcnn(2, pooler=pooler)
        oriented_rcnn(2, pooler=pooler)
    assert made == [(bins, [1 / 4, 1 / 8, 1 / 16, 1 / 32]) for bins in (7, 14, 7)]


#: The example that takes half a minute: it exports a detector.
SLOW_EXAMPLE = "export_program"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name == SLOW_EXAMPLE else name
        for name in roialign.detection.__all__
        if name != "POOLERS"
    ],
)
def test_the_examples_of_docstrings_run(name: str) -> None:
    report: list[str] = []
    for test in doctest.DocTestFinder(recurse=False).find(getattr(roialign.detection, name), name, globs={}):
        doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS).run(test, out=report.append)
    assert not report, "".join(report)
