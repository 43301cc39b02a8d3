"""What code that was written for another package reads, replaces, subclasses or imports."""

from __future__ import annotations

import copy
import pickle
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import roialign
from roialign.compat import detectron2, mmcv, torchvision

SCALES = [1 / 4, 1 / 8]


def maps(channels: int = 3, images: int = 2) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(images, channels, side, side, dtype=torch.float64) for side in (32, 16)]


def boxes() -> list[Tensor]:
    """On the levels 0, 1 and 0."""
    return [torch.tensor([[2.0, 3.0, 40.0, 50.0], [4.0, 5.0, 124.0, 127.0]]), torch.tensor([[8.0, 8.0, 30.0, 60.0]])]


def turned_boxes() -> list[Tensor]:
    """On the levels 0, 1 and 0; angles are in degrees."""
    return [
        torch.tensor([[21.0, 26.0, 38.0, 47.0, 20.0], [64.0, 64.0, 120.0, 118.0, -40.0]]),
        torch.tensor([[19.0, 34.0, 22.0, 52.0, 70.0]]),
    ]


def pooler(kind: str, **options: Any) -> detectron2.ROIPooler:
    return detectron2.ROIPooler((3, 2), SCALES, 2, kind, canonical_box_size=112, canonical_level=3, **options)


def boxes_of(kind: str) -> list[Tensor]:
    return turned_boxes() if kind == "ROIAlignRotated" else boxes()


KINDS = ["ROIAlign", "ROIAlignV2", "ROIPool", "ROIAlignRotated"]


@pytest.mark.parametrize("kind", KINDS)
def test_detectron2_pooler_by_its_layers(kind: str) -> None:
    """A loop over the levels, with detectron2's functions and the pooler's layers, computes what the pooler does."""
    whole, given = pooler(kind), boxes_of(kind)
    rows = detectron2.convert_boxes_to_pooler_format(given)
    levels = detectron2.assign_boxes_to_levels(
        given, whole.min_level, whole.max_level, whole.canonical_box_size, whole.canonical_level
    )
    assert (whole.min_level, whole.max_level, levels.tolist()) == (2, 3, [0, 1, 0])
    expected = torch.zeros(3, 3, *whole.output_size, dtype=torch.float64)
    for level, layer in enumerate(whole.level_poolers):
        chosen = torch.nonzero(levels == level, as_tuple=True)[0]
        expected[chosen] = layer(maps()[level], rows[chosen])
    torch.testing.assert_close(whole(maps(), given), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_detectron2_pooler_of_one_level_is_its_layer(kind: str) -> None:
    whole, given = detectron2.ROIPooler(2, SCALES[:1], 2, kind), boxes_of(kind)
    rows = detectron2.convert_boxes_to_pooler_format(given)
    assert torch.equal(whole(maps()[:1], given), whole.level_poolers[0](maps()[0], rows))


@pytest.mark.parametrize("kind", KINDS)
def test_layers_of_a_detectron2_pooler_may_be_changed(kind: str) -> None:
    """All levels are pooled in one call only if their layers differ in nothing but their scales."""
    given, plain = boxes_of(kind), pooler(kind)(maps(), boxes_of(kind))
    hooked = pooler(kind)
    hooked.level_poolers[1].register_forward_hook(lambda *passed: 2 * passed[-1])
    torch.testing.assert_close(hooked(maps(), given), plain * torch.tensor([1.0, 2.0, 1.0]).reshape(3, 1, 1, 1))
    assert hooked(maps(), [entry[:0] for entry in given]).shape == (0, 3, 3, 2)
    patched = pooler(kind)
    layer: Any = patched.level_poolers[1]
    forward = layer.forward
    layer.forward = lambda *passed: 2 * forward(*passed)
    assert torch.equal(patched(maps(), given), hooked(maps(), given))
    rescaled = pooler(kind)
    rescaled.level_poolers[1].spatial_scale = 1 / 7
    rows = detectron2.convert_boxes_to_pooler_format(given)[1:2]
    torch.testing.assert_close(rescaled(maps(), given)[1:2], rescaled.level_poolers[1](maps()[1], rows))
    torch.testing.assert_close(rescaled(maps(), given)[::2], plain[::2])


def test_a_layer_of_a_detectron2_pooler_needs_no_scale() -> None:
    """detectron2 chooses the levels by `min_level` and `max_level`, so that a layer may be any module."""

    class Ones(nn.Module):
        def forward(self, x: Tensor, rois: Tensor) -> Tensor:
            return x.new_ones(len(rois), x.shape[1], 3, 2)

    changed, plain = pooler("ROIAlignV2"), pooler("ROIAlignV2")(maps(), boxes())
    changed.level_poolers[1] = Ones()
    pooled = changed(maps(), boxes())
    assert (pooled[1] == 1).all()
    torch.testing.assert_close(pooled[::2], plain[::2])
    changed.level_poolers[0] = Ones()
    assert (changed(maps(), boxes()) == 1).all()


def test_a_detectron2_pooler_with_other_layers() -> None:
    """A subclass may make layers of another kind, without the `__init__` of the pooler."""

    class PositionSensitive(detectron2.ROIPooler):
        def __init__(self) -> None:
            nn.Module.__init__(self)
            self.level_poolers = nn.ModuleList([torchvision.PSRoIPool(2, scale) for scale in SCALES])
            self.canonical_box_size, self.canonical_level = 112, 3

    pooled = PositionSensitive()(maps(channels=8), boxes())
    rows = detectron2.convert_boxes_to_pooler_format(boxes())
    for row, level in enumerate((0, 1, 0)):
        alone = torchvision.ps_roi_pool(maps(channels=8)[level], rows[row : row + 1], 2, SCALES[level])
        torch.testing.assert_close(pooled[row : row + 1], alone)


def test_detectron2_pooler_shows_its_layers() -> None:
    shown = (
        "ROIPooler(\n  (level_poolers): ModuleList(\n"
        "    (0): ROIAlign(output_size=(3, 2), spatial_scale=0.25, sampling_ratio=2, aligned=True)\n"
        "    (1): ROIAlign(output_size=(3, 2), spatial_scale=0.125, sampling_ratio=2, aligned=True)\n  )\n)"
    )
    for one in (
        pooler("ROIAlignV2"),
        copy.deepcopy(pooler("ROIAlignV2")),
        pickle.loads(pickle.dumps(pooler(KINDS[1]))),
    ):
        assert repr(one) == shown
    assert not pooler("ROIAlignV2").state_dict()


def test_detectron2_rows_of_boxes() -> None:
    """As in detectron2, for boxes as tensors or in objects; an image index is never rounded to half precision."""
    held = [SimpleNamespace(tensor=entry) for entry in boxes()]
    rows = detectron2.convert_boxes_to_pooler_format(held)
    assert rows.dtype == torch.float32
    assert rows[:, 0].tolist() == [0, 0, 1]
    assert torch.equal(rows[:, 1:], torch.cat(boxes()))
    many = [torch.zeros(0, 4, dtype=torch.float16)] * 2049 + [torch.ones(1, 4, dtype=torch.float16)]
    assert detectron2.convert_boxes_to_pooler_format(many).tolist() == [[2049, 1, 1, 1, 1]]
    assert detectron2.convert_boxes_to_pooler_format([]).shape == (0, 5)
    levels = detectron2.assign_boxes_to_levels([], 2, 5, 224, 4)
    assert (levels.dtype, levels.shape) == (torch.int64, (0,))
    with pytest.raises(ValueError, match=r"box_lists\[1\]: expected shape \[K, 4\], got \(3, 5\)"):
        detectron2.convert_boxes_to_pooler_format([boxes()[0], torch.zeros(3, 5)])
    with pytest.raises(ValueError, match=r"box_lists\[0\]: expected shape \[K, 4\], got \(4,\)"):
        detectron2.convert_boxes_to_pooler_format(boxes()[0])  # type: ignore[arg-type]
    hooked = pooler("ROIAlign")
    hooked.level_poolers[1].register_forward_hook(lambda *passed: 2 * passed[-1])
    for one in (pooler("ROIAlign"), hooked):
        assert one(maps(), []).shape == (0, 3, 3, 2)
        with pytest.raises(ValueError, match=r"x: expected one map per level \(2\), got 1"):
            one(maps()[:1], boxes())


def test_mmdet_extractors_with_a_base_class() -> None:
    """Region encoders of language models subclass mmdet's base class, and pool every level."""

    class EveryLevel(mmcv.BaseRoIExtractor):
        def forward(self, feats: list[Tensor], rois: Tensor) -> Tensor:
            pooled = [layer(level, rois) for layer, level in zip(self.roi_layers, feats, strict=True)]
            return torch.stack(pooled).sum(0)

    layer = {"type": "RoIAlign", "output_size": (3, 2), "sampling_ratio": 2}
    rows = detectron2.convert_boxes_to_pooler_format(boxes())
    extractor = EveryLevel(layer, 3, [4, 8])
    generic = mmcv.GenericRoIExtractor(roi_layer=layer, out_channels=3, featmap_strides=[4, 8])
    torch.testing.assert_close(extractor(maps(), rows), generic(maps(), rows))
    assert extractor.init_cfg is None
    assert extractor.num_inputs == 2
    assert isinstance(generic, mmcv.BaseRoIExtractor)
    assert isinstance(mmcv.SingleRoIExtractor(layer, 3, [4, 8]), mmcv.BaseRoIExtractor)
    with pytest.raises(NotImplementedError, match="forward"):
        mmcv.BaseRoIExtractor(layer, 3, [4, 8])(maps(), rows)


@pytest.mark.parametrize("kind", ["RoIAlign", "RoIAlignRotated"])
def test_mmdet_extractor_scales_boxes_by_height_and_width(kind: str) -> None:
    """mmrotate's extractor takes a pair of factors, (height, width)."""
    layer = {"type": kind, "output_size": (3, 2), "sampling_ratio": 2}
    extractor = mmcv.SingleRoIExtractor(layer, 3, [4, 8])
    if kind == "RoIAlign":
        row, expected = torch.tensor([[1, 10.0, 20.0, 30.0, 60.0]]), torch.tensor([[1, 15.0, 0.0, 25.0, 80.0]])
    else:
        row, expected = (
            torch.tensor([[1, 20.0, 40.0, 20.0, 40.0, 0.3]]),
            torch.tensor([[1, 20.0, 40.0, 10.0, 80.0, 0.3]]),
        )
    assert torch.equal(extractor.roi_rescale(row, (2, 0.5)), expected)
    assert torch.equal(extractor.roi_rescale(row, [2, 2]), extractor.roi_rescale(row, 2))
    torch.testing.assert_close(extractor(maps(), row, (2, 0.5)), extractor(maps(), expected))
    assert torch.equal(extractor.roi_rescale(row, torch.tensor([2, 0.5])), expected)  # type: ignore[arg-type]
    for wrong in ((1, 2, 3), "2", torch.ones(2, 2), (torch.ones(2), 1)):
        expects = r"scale_factor: expected a number or a pair \(height, width\)"
        with pytest.raises((TypeError, ValueError), match="^" + expects):
            extractor.roi_rescale(row, wrong)  # type: ignore[arg-type]
        with pytest.raises((TypeError, ValueError), match="^roi_" + expects):
            extractor(maps(), row, wrong)


def test_mmdet_extractors_may_be_asked_to_initialise_their_weights() -> None:
    layer = {"type": "RoIAlign", "output_size": 2}
    mmcv.SingleRoIExtractor(layer, 3, [4, 8]).init_weights()
    mmcv.GenericRoIExtractor(roi_layer=layer, out_channels=3, featmap_strides=[4, 8]).init_weights()


def test_torchvision_pooler_with_another_rule_of_levels() -> None:
    """torchvision's pooler calls its attribute `map_levels` to choose the levels, which users replace."""
    pool = torchvision.MultiScaleRoIAlign(["0", "1"], 2, 2)
    assert pool.map_levels is None
    pool.map_levels = lambda lists: torch.ones(sum(len(entry) for entry in lists), dtype=torch.int64)
    pooled = pool(dict(zip("01", maps(), strict=True)), boxes(), [(128, 128)] * 2)
    expected = roialign.roi_align(maps()[1], boxes(), 2, 1 / 8, 2, aligned=False)
    torch.testing.assert_close(pooled, expected)
    coarse = torchvision.MultiScaleRoIAlign(["1"], 2, 2)
    coarse.map_levels = pool.map_levels  # as in torchvision, it is not asked if there is one level
    torch.testing.assert_close(coarse({"1": maps()[1]}, boxes(), [(128, 128)] * 2), expected)
    pool.map_levels = lambda lists: torch.full((len(lists),), 2)
    with pytest.raises(ValueError, match=r"levels: expected .* got \(2,\)|levels: .*3"):
        pool(dict(zip("01", maps(), strict=True)), boxes(), [(128, 128)] * 2)


def test_warnings_of_deprecated_names_point_to_the_caller() -> None:
    """Python shows a DeprecationWarning only if it belongs to the user's script."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mmcv.RoIAlign(out_size=2, sample_num=2)  # type: ignore[call-arg]
        mmcv.SingleRoIExtractor({"type": "RoIAlignRotated", "out_size": 2}, 3, [4])
    assert [warning.filename for warning in caught] == [__file__] * 3


def corners_of_samples(pixels: Tensor, size: int, side: int) -> Tensor:
    """The box of TensorFlow, on a map of `side` pixels, whose samples are the centres of `size` x `size` bins."""
    first, last = pixels[:, :2], pixels[:, 2:]
    step = (last - first) / size
    start = first + step / 2 - 0.5
    return torch.cat([start.flip(1), (start + step * (size - 1)).flip(1)], 1) / (side - 1)


def test_pooling_that_was_written_with_crop_and_resize() -> None:
    """RoIAlign.pytorch crops to the bins of a box, and tensorpack to two samples per bin of a map with a border."""
    image, pixels = maps()[0], torch.tensor([[3.0, 4.0, 17.0, 15.0], [0.5, 0.5, 31.5, 20.0]]).double()
    index = torch.tensor([1, 0])
    crops = roialign.crop_and_resize(image, corners_of_samples(pixels, 7, 32), index, 7, layout="NCHW")
    torch.testing.assert_close(crops, roialign.roi_align(image, pixels, 7, 1, 1, batch_indices=index))
    beyond = torch.tensor([[-0.4, -0.3, 32.0, 20.0], [10.0, 3.0, 11.0, 4.0]]).double()
    bordered = functional.pad(image, (1, 1, 1, 1), mode="replicate")
    fine = roialign.crop_and_resize(bordered, corners_of_samples(beyond + 1, 14, 34), index, 14, layout="NCHW")
    pooled = roialign.roi_align(image, beyond, 7, 1, 2, batch_indices=index)
    torch.testing.assert_close(functional.avg_pool2d(fine, 2), pooled)
