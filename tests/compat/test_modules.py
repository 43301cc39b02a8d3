"""The drop-in modules: signatures, what `repr` shows, levels, and what each computes beside a loop written out."""

from __future__ import annotations

import copy
import doctest
import inspect
import math
import pickle
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import roialign
from roialign.compat import detectron2, mmcv, onnx, torchvision
from roialign.compat.torchvision import infer_stride
from tests.tables.python import run_python
from tests.tables.tolerances import assert_close

#: What each package documents, without annotations.
SIGNATURES: list[tuple[Callable[..., Any], str]] = [
    (torchvision.roi_align, "(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1, aligned=False)"),
    (torchvision.RoIAlign, "(output_size, spatial_scale, sampling_ratio, aligned=False)"),
    (
        torchvision.MultiScaleRoIAlign,
        "(featmap_names, output_size, sampling_ratio, *, canonical_scale=224, canonical_level=4)",
    ),
    (torchvision.MultiScaleRoIAlign.forward, "(self, x, boxes, image_shapes)"),
    (detectron2.ROIAlign, "(output_size, spatial_scale, sampling_ratio, aligned=True)"),
    (
        detectron2.ROIPooler,
        "(output_size, scales, sampling_ratio, pooler_type, canonical_box_size=224, canonical_level=4)",
    ),
    (detectron2.ROIPooler.forward, "(self, x, box_lists)"),
    (
        mmcv.roi_align,
        "(input, rois, output_size, spatial_scale=1.0, sampling_ratio=0, pool_mode='avg', aligned=True)",
    ),
    (
        mmcv.RoIAlign,
        "(output_size, spatial_scale=1.0, sampling_ratio=0, pool_mode='avg', aligned=True, use_torchvision=False)",
    ),
    (mmcv.SimpleRoIAlign, "(output_size, spatial_scale, aligned=True)"),
    (mmcv.prroi_pool, "(features, rois, output_size, spatial_scale=1.0)"),
    (mmcv.PrRoIPool, "(output_size, spatial_scale=1.0)"),
    (mmcv.SingleRoIExtractor, "(roi_layer, out_channels, featmap_strides, finest_scale=56, init_cfg=None)"),
    (mmcv.SingleRoIExtractor.forward, "(self, feats, rois, roi_scale_factor=None)"),
    (
        mmcv.GenericRoIExtractor,
        "(aggregation='sum', pre_cfg=None, post_cfg=None, *, roi_layer, out_channels, featmap_strides, init_cfg=None)",
    ),
    (
        onnx.roi_align,
        "(X, rois, batch_indices, *, mode='avg', output_height=1, output_width=1, sampling_ratio=0, "
        "spatial_scale=1.0, coordinate_transformation_mode=None, opset=22)",
    ),
]


@pytest.mark.parametrize(("function", "expected"), SIGNATURES, ids=lambda value: getattr(value, "__qualname__", ""))
def test_signature(function: Callable[..., Any], expected: str) -> None:
    signature = inspect.signature(function)
    parameters = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    assert str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty)) == expected


LAYER = {"type": "RoIAlign", "output_size": 7, "sampling_ratio": 2}
MODULES: dict[str, nn.Module] = {
    "RoIAlign(output_size=(7, 5), spatial_scale=0.25, sampling_ratio=2, aligned=False)": torchvision.RoIAlign(
        (7, 5), 0.25, 2
    ),
    "MultiScaleRoIAlign(featmap_names=['0', '1'], output_size=(7, 7), sampling_ratio=2)": (
        torchvision.MultiScaleRoIAlign(["0", "1"], 7, 2)
    ),
    "ROIAlign(output_size=(7, 7), spatial_scale=0.25, sampling_ratio=0, aligned=True)": detectron2.ROIAlign(
        (7, 7), 0.25, 0
    ),
    "ROIPooler(\n  (level_poolers): ModuleList(\n    "
    "(0): ROIAlign(output_size=(7, 7), spatial_scale=0.25, sampling_ratio=0, aligned=True)\n  "
    ")\n)": detectron2.ROIPooler(7, [0.25], 0, "ROIAlignV2"),
    "RoIAlign(output_size=(7, 7), spatial_scale=0.25, sampling_ratio=0, pool_mode=avg, aligned=True, "
    "use_torchvision=False)": mmcv.RoIAlign(7, 0.25),
    "SimpleRoIAlign(output_size=(7, 7), spatial_scale=0.25, aligned=True)": mmcv.SimpleRoIAlign(7, 0.25),
    "PrRoIPool(output_size=(7, 7), spatial_scale=0.25)": mmcv.PrRoIPool(7, 0.25),
    "SingleRoIExtractor(\n  out_channels=3, featmap_strides=[4], finest_scale=56\n  (roi_layers): ModuleList(\n    "
    "(0): RoIAlign(output_size=(7, 7), spatial_scale=0.25, sampling_ratio=2, pool_mode=avg, aligned=True, "
    "use_torchvision=False)\n  )\n)": mmcv.SingleRoIExtractor(LAYER, 3, [4]),
}


@pytest.mark.parametrize(("shown", "module"), MODULES.items(), ids=lambda value: type(value).__name__)
def test_repr_copy_and_pickle(shown: str, module: nn.Module) -> None:
    for one in (module, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert repr(one) == shown


def random_maps(sizes: Sequence[tuple[int, int]], images: int = 2, channels: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(sum(height for height, _ in sizes))
    return [torch.randn(images, channels, *size, generator=generator, dtype=torch.float64) for size in sizes]


def squares(sides: Sequence[float]) -> Tensor:
    return torch.tensor([[10.0, 20.0, 10.0 + side, 20.0 + side] for side in sides], dtype=torch.float64)


def level_markers(count: int) -> list[Tensor]:
    """Maps so large that no box leaves them, each filled with its index."""
    return [torch.full((1, 1, 512 >> level, 512 >> level), float(level)) for level in range(count)]


SIDES = [0.0, 55.9, 111.0, 112.0, 223.99995, 224.0, 448.0, 1000.0]
#: By the three packages' rules, of which detectron2's adds its epsilon before the logarithm: 1e-8 and not 1e-6.
LEVELS = {
    "torchvision": [0, 0, 0, 1, 2, 2, 3, 3],
    "detectron2": [0, 0, 0, 1, 1, 2, 3, 3],
    "mmdet": [0, 0, 0, 1, 2, 2, 3, 3],
}


def test_levels_by_the_rule_of_each_package() -> None:
    maps, boxes = level_markers(4), squares(SIDES)
    rois = functional.pad(boxes, (1, 0))
    by_name = dict(zip("0123", maps, strict=True))
    strides = [4, 8, 16, 32]
    pooled = {
        "torchvision": torchvision.MultiScaleRoIAlign(list("0123"), 1, 2)(by_name, [boxes], [(2048, 2048)]),
        "detectron2": detectron2.ROIPooler(1, [1 / s for s in strides], 2, "ROIAlignV2")(maps, [boxes]),
        "mmdet": mmcv.SingleRoIExtractor({**LAYER, "output_size": 1}, 1, strides)(maps, rois),
    }
    assert {name: values.flatten().round().tolist() for name, values in pooled.items()} == LEVELS


@pytest.mark.parametrize(
    ("map_shape", "images", "stride"),
    [
        ((200, 336), [(800, 1333)], 4),
        ((25, 42), [(800, 1333)], 32),
        ((13, 21), [(800, 1333)], 64),
        ((25, 42), [(640, 1333), (800, 900)], 32),
        ((25, 25), [(775, 775)], 32),  # padded to 800; 31 would explain the sizes before padding
        ((16, 16), [(224, 224)], 14),
        ((37, 37), [(518, 518)], 14),
        ((1, 16), [(14, 224)], 14),  # the height alone cannot tell 14 from 16
        ((7, 7), [(7, 7)], 1),
        ((24, 64), [(67, 226)], 4),  # the height of the batch is 96
    ],
)
def test_torchvision_stride_from_both_axes(
    map_shape: tuple[int, int], images: list[tuple[int, int]], stride: int
) -> None:
    assert infer_stride(map_shape, images, "0") == stride


def test_torchvision_stride_that_no_shape_tells() -> None:
    with pytest.raises(ValueError, match=r"x\['0'\]: no stride reduces .* to a map of 10 x 40 .*; set .* `scales`"):
        infer_stride((10, 40), [(320, 640)], "0")
    pool = torchvision.MultiScaleRoIAlign(["0"], 1, 2)
    with pytest.raises(ValueError, match=r"x: expected a map named in \['0'\], got the names \['1'\]"):
        pool({"1": torch.zeros(1, 1, 4, 4)}, [torch.zeros(1, 4)], [(8, 8)])
    pool.scales = [1 / 14]
    ramp = torch.arange(40.0).expand(1, 1, 10, 40)
    assert float(pool({"0": ramp}, [torch.tensor([[56.0, 56.0, 112.0, 112.0]])], [(320, 640)])) == pytest.approx(6.0)


def test_detectron2_boxes_in_objects_and_empty_lists() -> None:
    maps = random_maps([(40, 60), (20, 30)])
    boxes = [squares([30, 300]), squares([90])]
    pooler = detectron2.ROIPooler((3, 2), [1 / 4, 1 / 8], 0, "ROIAlignV2")
    pooled = pooler(maps, boxes)
    assert torch.equal(pooler(maps, [SimpleNamespace(tensor=entry) for entry in boxes]), pooled)
    assert pooler(maps, []).shape == (0, 3, 3, 2)
    assert pooler(maps, [boxes[0][:0], boxes[1][:0]]).shape == (0, 3, 3, 2)
    for row, (image, box, level) in enumerate([(0, boxes[0][0], 0), (0, boxes[0][1], 1), (1, boxes[1][0], 0)]):
        roi = functional.pad(box[None], (1, 0), value=image)
        alone = roialign.roi_align(maps[level], roi, (3, 2), 1 / (4 << level))
        assert torch.equal(pooled[row], alone[0])
    with pytest.raises(ValueError, match="'ROIAlign', 'ROIAlignV2', 'ROIPool', 'ROIAlignRotated', got 'RoIPool'"):
        detectron2.ROIPooler(7, [0.25], 0, "RoIPool")


def test_detectron2_pools_rotated_and_rounded_boxes() -> None:
    """Each as the operator of that name does on the level of the box; angles are in degrees."""
    maps = random_maps([(40, 60), (20, 30)])
    pooler = detectron2.ROIPooler((3, 2), [1 / 4, 1 / 8], 0, "ROIPool")
    boxes = [squares([30, 300]), squares([90])]
    rows = [(0, boxes[0][0], 0), (0, boxes[0][1], 1), (1, boxes[1][0], 0)]
    pooled = pooler(maps, boxes)
    for row, (image, box, level) in enumerate(rows):
        roi = functional.pad(box[None], (1, 0), value=image)
        assert torch.equal(pooled[row], roialign.roi_pool(maps[level], roi, (3, 2), 1 / (4 << level))[0])
    turned = [torch.tensor([[60.0, 40.0, 30.0, 20.0, 33.0], [100.0, 90.0, 200.0, 300.0, -120.0]])]
    turned.append(turned[0][:0])
    layer = detectron2.ROIPooler((3, 2), [1 / 4, 1 / 8], 2, "ROIAlignRotated")
    answer = layer(maps, turned)
    for row, level in enumerate((0, 1)):
        roi = functional.pad(turned[0][row : row + 1], (1, 0))
        alone = detectron2.ROIAlignRotated((3, 2), 1 / (4 << level), 2)(maps[level], roi)
        assert torch.equal(answer[row], alone[0])
        radians = torch.cat([roi[:, :5], roi[:, 5:] * (math.pi / 180)], dim=1)
        by_function = roialign.roi_align_rotated(maps[level], radians, (3, 2), 1 / (4 << level), 2)
        torch.testing.assert_close(alone, by_function, rtol=1e-5, atol=1e-5)
    assert layer(maps, [turned[1], turned[1]]).shape == (0, 3, 3, 2)


def simple_roi_align_written_out(module: mmcv.SimpleRoIAlign, features: Tensor, rois: Tensor) -> Tensor:
    """mmcv's steps, box by box: a regular grid in the box, as fractions of the image, and `grid_sample`."""
    height, width = module.output_size
    pooled = []
    for image, x1, y1, x2, y2 in rois.tolist():
        ys, xs = ((torch.arange(size, dtype=torch.float64) + 0.5) / size for size in (height, width))
        y, x = y1 + ys * (y2 - y1), x1 + xs * (x2 - x1)
        size_y, size_x = (size / module.spatial_scale for size in features.shape[2:])
        grid = torch.stack(torch.meshgrid(x / size_x, y / size_y, indexing="xy"), -1)[None] * 2 - 1
        map_of_image = features[int(image)][None]
        pooled.append(functional.grid_sample(map_of_image, grid, align_corners=not module.aligned)[0])
    return torch.stack(pooled)


@pytest.mark.parametrize("aligned", [True, False])
def test_mmcv_simple_roi_align(aligned: bool) -> None:
    (features,) = random_maps([(9, 13)])
    rois = torch.tensor(
        [[1, 3.0, 4.0, 30.0, 25.0], [0, -20.0, -9.0, 80.0, 70.0], [1, 8.0, 8.0, 8.0, 8.0], [0, 50.0, 30.0, 60.0, 38.0]]
    )
    module = mmcv.SimpleRoIAlign((3, 4), 1 / 4, aligned)
    expected = simple_roi_align_written_out(module, features, rois)
    assert_close(module(features, rois).numpy(), expected.numpy(), "float64", float(features.abs().max()))
    assert module(features, rois[:0]).shape == (0, 3, 3, 4)
    with pytest.raises(ValueError, match=r"rois: expected shape \[K, 5\]"):
        module(features, rois[:, 1:])


def test_mmcv_prroi_pool() -> None:
    (features,) = random_maps([(9, 13)])
    rois = torch.tensor([[1, 3.0, 4.0, 30.0, 25.0], [0, -20.0, -9.0, 80.0, 70.0], [1, 8.0, 8.0, 8.0, 8.0]])
    expected = roialign.prroi_pool(features.numpy(), rois.numpy(), (3, 2), 0.25, backend="reference")
    for pooled in (mmcv.prroi_pool(features, rois, (3, 2), 0.25), mmcv.PrRoIPool((3, 2), 0.25)(features, rois)):
        assert_close(pooled.numpy(), expected, "float64", float(features.abs().max()))


LAYERS: list[dict[str, Any]] = [
    {"type": "RoIAlign", "output_size": (3, 2), "sampling_ratio": 0},
    {"type": "PrRoIPool", "output_size": (3, 2)},
    {"type": "SimpleRoIAlign", "output_size": (3, 2)},
]
ROIS = torch.tensor([[1, 3.0, 4.0, 30.0, 25.0], [0, -20.0, -9.0, 180.0, 170.0], [1, 8.0, 8.0, 100.0, 120.0]]).double()


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer["type"])
@pytest.mark.parametrize("factor", [None, 1.5])
def test_mmdet_single_roi_extractor(layer: dict[str, Any], factor: float | None) -> None:
    """A level by the size of the box as given; then the scaled box, pooled there by that level's layer."""
    maps = random_maps([(40, 60), (20, 30)])
    extractor = mmcv.SingleRoIExtractor(layer, 3, [4, 8])
    pooled = extractor(maps, ROIS, factor)
    assert extractor.num_inputs == 2
    for row, level in enumerate([0, 1, 0]):
        roi = ROIS[row : row + 1].clone()
        if factor is not None:
            centre, half = (roi[:, 1:3] + roi[:, 3:]) / 2, (roi[:, 3:] - roi[:, 1:3]) / 2
            roi[:, 1:] = torch.cat([centre - factor * half, centre + factor * half], 1)
        alone = extractor.roi_layers[level](maps[level], roi)
        assert_close(pooled[row : row + 1].numpy(), alone.numpy(), "float64", 1.0)
    assert extractor(maps, ROIS[:0], factor).shape == (0, 3, 3, 2)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer["type"])
def test_mmdet_generic_roi_extractor(layer: dict[str, Any]) -> None:
    maps = random_maps([(40, 60), (20, 30)])
    each = [
        mmcv.SingleRoIExtractor(layer, 3, [stride])([level], ROIS) for stride, level in zip([4, 8], maps, strict=True)
    ]
    total = mmcv.GenericRoIExtractor(roi_layer=layer, out_channels=3, featmap_strides=[4, 8])(maps, ROIS)
    assert_close(total.numpy(), (each[0] + each[1]).numpy(), "float64", 2.0)
    joined = mmcv.GenericRoIExtractor("concat", roi_layer=layer, out_channels=6, featmap_strides=[4, 8])(maps, ROIS)
    assert torch.equal(joined, torch.cat(each, 1))
    processed = mmcv.GenericRoIExtractor(
        "sum", roi_layer=layer, out_channels=3, featmap_strides=[4, 8], pre_cfg=nn.ReLU(), post_cfg=nn.Flatten()
    )(maps, ROIS)
    assert_close(processed.numpy(), (each[0].relu() + each[1].relu()).flatten(1).numpy(), "float64", 2.0)


def test_mmdet_arguments() -> None:
    maps = random_maps([(40, 60), (20, 30)])
    with pytest.raises(ValueError, match=r"roi_layer\['type'\]: expected one of .*, got 'RoIAlignV2'"):
        mmcv.SingleRoIExtractor({"type": "RoIAlignV2"}, 3, [4])
    with pytest.raises(TypeError, match=r"pre_cfg: expected a module, got dict; build it with build_plugin_layer"):
        mmcv.GenericRoIExtractor(roi_layer=LAYER, out_channels=3, featmap_strides=[4], pre_cfg={"type": "ConvModule"})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="aggregation: expected one of 'sum', 'concat', got 'mean'"):
        mmcv.GenericRoIExtractor("mean", roi_layer=LAYER, out_channels=3, featmap_strides=[4])
    with pytest.raises(ValueError, match="out_channels: expected 6, the number of pooled channels, got 3"):
        mmcv.GenericRoIExtractor("concat", roi_layer=LAYER, out_channels=3, featmap_strides=[4, 8])(maps, ROIS)
    with pytest.raises(ValueError, match="out_channels: expected 3, the number of pooled channels, got 4"):
        mmcv.SingleRoIExtractor(LAYER, 4, [4, 8])(maps, ROIS)
    with pytest.raises(ValueError, match=r"feats: expected at least 1 and at most 1 maps .*, got 2"):
        mmcv.SingleRoIExtractor(LAYER, 3, [4])(maps, ROIS)
    with pytest.raises(ValueError, match=r"rois: expected shape \[K, 5\]"):
        mmcv.SingleRoIExtractor(LAYER, 3, [4, 8])(maps, ROIS[:, 1:])


def test_mmdet_keeps_init_cfg() -> None:
    config = {"type": "Normal"}
    extractors = [
        mmcv.SingleRoIExtractor(LAYER, 3, [4], init_cfg=config),
        mmcv.GenericRoIExtractor(roi_layer=LAYER, out_channels=3, featmap_strides=[4], init_cfg=config),
    ]
    assert [extractor.init_cfg for extractor in extractors] == [config, config]


def test_detectron2_takes_tensors_and_what_holds_them() -> None:
    pooler = detectron2.ROIPooler(2, [0.25], 2, "ROIAlignV2")
    with pytest.raises(TypeError, match=r"box_lists\[1\]: expected a torch.Tensor, .* got numpy.ndarray"):
        pooler(random_maps([(8, 8)]), [ROIS[:, 1:], ROIS[:, 1:].numpy()])
    with pytest.raises(ValueError, match=r"box_lists\[0\]: .*4"):
        pooler(random_maps([(8, 8)]), [ROIS])


def test_onnx_arguments_by_operator_set() -> None:
    ramp, box, image = np.arange(16.0).reshape(1, 1, 4, 4), np.array([[0.0, 0.0, 2.0, 2.0]]), np.array([0])
    answers = {
        opset: float(onnx.roi_align(ramp, box, image, opset=opset)[0, 0, 0, 0]) for opset in (10, 15, 16, 21, 22)
    }
    assert answers == {10: 5.0, 15: 5.0, 16: 2.5, 21: 2.5, 22: 2.5}
    unshifted = onnx.roi_align(ramp, box, image, coordinate_transformation_mode="output_half_pixel")
    assert float(unshifted[0, 0, 0, 0]) == 5.0
    with pytest.raises(ValueError, match="which added the attribute, got 'half_pixel' with opset=10"):
        onnx.roi_align(ramp, box, image, coordinate_transformation_mode="half_pixel", opset=10)
    with pytest.raises(ValueError, match="opset: expected at least 10, the first with RoiAlign, got 9"):
        onnx.roi_align(ramp, box, image, opset=9)
    with pytest.raises(ValueError, match="coordinate_transformation_mode: expected one of"):
        onnx.roi_align(ramp, box, image, coordinate_transformation_mode="asymmetric")
    with pytest.raises(ValueError, match="mode: expected one of 'avg', 'max', got 'min'"):
        onnx.roi_align(ramp, box, image, mode="min")
    half = torch.from_numpy(ramp).bfloat16()
    arguments = (torch.from_numpy(box), torch.from_numpy(image))
    assert onnx.roi_align(half, *arguments, opset=22).dtype == torch.bfloat16
    with pytest.raises(TypeError, match="X: expected dtype float16, float32, float64 for operator set 16, got"):
        onnx.roi_align(half, *arguments, opset=16)


@pytest.mark.parametrize(
    "function", [torchvision.roi_align, mmcv.roi_align, mmcv.prroi_pool, onnx.roi_align], ids=lambda f: f.__module__
)
def test_examples_in_docstrings_run(function: Callable[..., Any]) -> None:
    (test,) = doctest.DocTestFinder(recurse=False).find(function, globs={})
    report: list[str] = []
    assert doctest.DocTestRunner(verbose=False).run(test, out=report.append).attempted > 1
    assert not report, "".join(report)


def test_no_module_needs_the_package_that_it_stands_in_for() -> None:
    script = """
    import sys
    for name in ("torchvision", "detectron2", "mmcv", "mmdet", "onnx", "onnxscript"):
        sys.modules[name] = None  # an import of it fails
    import roialign.compat.onnx
    assert "torch" not in sys.modules
    import roialign.compat.torchvision, roialign.compat.detectron2, roialign.compat.mmcv
    """
    run_python(script)


@pytest.mark.parametrize("kind", ["RoIAlign", "RoIAlignRotated"])
def test_layers_of_an_extractor_may_be_changed(kind: str) -> None:
    """All levels are pooled in one call only if their layers differ in nothing but their scales."""
    maps = [torch.arange(3.0 * side * side).reshape(1, 3, side, side) for side in (32, 16)]
    rois = torch.tensor([[0, 2.0, 3.0, 40.0, 50.0], [0, 4.0, 5.0, 124.0, 127.0]])
    if kind == "RoIAlignRotated":
        rois = torch.tensor([[0, 21.0, 26.0, 38.0, 47.0, 0.3], [0, 64.0, 64.0, 120.0, 118.0, -0.4]])

    def made() -> tuple[mmcv.SingleRoIExtractor, nn.ModuleList]:
        extractor = mmcv.SingleRoIExtractor({"type": kind, "output_size": 2, "sampling_ratio": 2}, 3, [4, 8])
        return extractor, extractor.roi_layers

    plain, (first, second) = made()
    expected = plain(maps, rois)
    layers = torch.stack([first(maps[0], rois[:1])[0], second(maps[1], rois[1:])[0]])
    torch.testing.assert_close(expected, layers)

    extractor, (_, second) = made()
    second.register_forward_hook(lambda *given: 2 * given[-1])
    torch.testing.assert_close(extractor(maps, rois), expected * torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1))
    extractor, (_, second) = made()
    second.spatial_scale = 1 / 10
    torch.testing.assert_close(extractor(maps, rois)[1], second(maps[1], rois[1:])[0])
    assert not torch.equal(extractor(maps, rois), expected)
    extractor, (_, second) = made()
    second.aligned = False
    torch.testing.assert_close(extractor(maps, rois)[1], second(maps[1], rois[1:])[0])
    assert not torch.equal(extractor(maps, rois), expected)
