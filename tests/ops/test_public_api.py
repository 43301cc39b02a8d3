"""The surface: signatures, docstrings, what an import loads, and corners where other systems are known to go wrong."""

from __future__ import annotations

import doctest
import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import roialign
from tests.tables.paths import ROOT
from tests.tables.python import run_python

SAMPLED = "aligned=True, mode='avg', sampling='grid', batch_indices=None, layout='NCHW', invalid=None, seed=None"
LEVELS = "levels=None, canonical_size=224, canonical_level=4"
TURNED = (
    "aligned=True, clockwise=False, mode='avg', sampling='grid', batch_indices=None, layout='NCHW', invalid=None, "
    "seed=None"
)
POOLED = "batch_indices=None, layout='NCHW', invalid=None"

#: Every public function with its arguments, without annotations.
SIGNATURES = {
    "roi_align": "(features, rois, output_size, spatial_scale=1.0, sampling_ratio=0, *, "
    f"{SAMPLED}, out=None, backend=None)",
    "roi_align_backward": "(grad_output, features, rois, spatial_scale=1.0, sampling_ratio=0, *, "
    f"need=('features', 'rois'), {SAMPLED}, backend=None)",
    "multiscale_roi_align": "(features, rois, output_size, spatial_scales, sampling_ratio=0, *, "
    f"{LEVELS}, {SAMPLED}, out=None, backend=None)",
    "multiscale_roi_align_backward": "(grad_output, features, rois, spatial_scales, sampling_ratio=0, *, "
    f"need=('features', 'rois'), {LEVELS}, {SAMPLED}, backend=None)",
    "prroi_pool": f"(features, rois, output_size, spatial_scale=1.0, *, {POOLED}, out=None, backend=None)",
    "prroi_pool_backward": "(grad_output, features, rois, spatial_scale=1.0, *, "
    f"need=('features', 'rois'), {POOLED}, backend=None)",
    "crop_and_resize": "(features, boxes, box_indices, crop_size, method='bilinear', extrapolation_value=0.0, *, "
    "layout='NHWC', invalid=None, out=None, backend=None)",
    "crop_and_resize_backward": "(grad_output, features, boxes, box_indices, method='bilinear', "
    "extrapolation_value=0.0, *, need=('features', 'boxes'), layout='NHWC', invalid=None, backend=None)",
    "bilinear_interpolate": "(features, x, y, *, backend=None)",
    "bilinear_interpolate_backward": "(grad_output, features, x, y, *, need=('features', 'points'), backend=None)",
    "fpn_levels": "(rois, spatial_scales, *, canonical_size=224, canonical_level=4)",
    "taps": "(size, start, length, bins, sampling_ratio=0, rule='grid', *, derivative=(0, 0), seed=0, backend=None)",
    "deform_roi_pool": "(features, rois, offset, output_size, spatial_scale=1.0, sampling_ratio=0, gamma=0.1, *, "
    f"mask=None, sampling='grid', {POOLED}, seed=None, out=None, backend=None)",
    "deform_roi_pool_backward": "(grad_output, features, rois, offset, spatial_scale=1.0, sampling_ratio=0, gamma=0.1, "
    f"*, need=('features', 'rois', 'offset', 'mask'), mask=None, sampling='grid', {POOLED}, seed=None, backend=None)",
    "multiscale_roi_align_rotated": "(features, rois, output_size, spatial_scales, sampling_ratio=0, *, "
    f"{LEVELS}, {TURNED}, out=None, backend=None)",
    "multiscale_roi_align_rotated_backward": "(grad_output, features, rois, spatial_scales, sampling_ratio=0, *, "
    f"need=('features', 'rois'), {LEVELS}, {TURNED}, backend=None)",
    "ps_roi_align": "(features, rois, output_size, spatial_scale=1.0, sampling_ratio=0, *, "
    f"{POOLED}, out=None, backend=None)",
    "ps_roi_align_backward": "(grad_output, features, rois, spatial_scale=1.0, sampling_ratio=0, *, "
    f"need=('features', 'rois'), {POOLED}, backend=None)",
    "ps_roi_pool": f"(features, rois, output_size, spatial_scale=1.0, *, {POOLED}, out=None, backend=None)",
    "ps_roi_pool_backward": f"(grad_output, features, rois, spatial_scale=1.0, *, {POOLED}, backend=None)",
    "riroi_align_rotated": "(features, rois, output_size, spatial_scale=1.0, sampling_ratio=0, *, "
    f"num_orientations=8, clockwise=False, {POOLED}, out=None, backend=None)",
    "riroi_align_rotated_backward": "(grad_output, features, rois, spatial_scale=1.0, sampling_ratio=0, *, "
    f"need=('features', 'rois'), num_orientations=8, clockwise=False, {POOLED}, backend=None)",
    "roi_align_rotated": "(features, rois, output_size, spatial_scale=1.0, sampling_ratio=0, *, "
    f"{TURNED}, out=None, backend=None)",
    "roi_align_rotated_backward": "(grad_output, features, rois, spatial_scale=1.0, sampling_ratio=0, *, "
    f"need=('features', 'rois'), {TURNED}, backend=None)",
    "roi_pool": f"(features, rois, output_size, spatial_scale=1.0, *, {POOLED}, out=None, backend=None)",
    "roi_pool_backward": f"(grad_output, features, rois, spatial_scale=1.0, *, {POOLED}, backend=None)",
    "rotated_iou": "(boxes, others, *, paired=False, clockwise=False, invalid=None, backend=None)",
    "rotated_iou_backward": "(grad_output, boxes, others, *, need=('boxes', 'others'), paired=False, clockwise=False, "
    "invalid=None, backend=None)",
    "rotated_nms": "(boxes, scores, threshold, groups=None, *, clockwise=False, backend=None)",
    "set_num_threads": "(count)",
    "get_num_threads": "()",
    "build_info": "()",
}
OPERATORS = [name for name in SIGNATURES if name not in ("set_num_threads", "get_num_threads", "build_info")]
#: Operators of the literature name the paper.
FROM_PAPERS = [
    "roi_align",
    "multiscale_roi_align",
    "prroi_pool",
    "fpn_levels",
    *(name for name in SIGNATURES if ("rotated" in name or "ps_roi" in name) and not name.endswith("_backward")),
    "deform_roi_pool",
    "roi_pool",
]


def bare(function: Callable[..., Any]) -> str:
    """A signature without its annotations."""
    signature = inspect.signature(function)
    parameters = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))


def test_the_public_names_are_these() -> None:
    assert sorted(roialign.__all__) == sorted([*SIGNATURES, "RoIWarning", "__version__"])
    for name in roialign.__all__:
        assert hasattr(roialign, name)


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature(name: str) -> None:
    assert bare(getattr(roialign, name)) == SIGNATURES[name]


@pytest.mark.parametrize("name", SIGNATURES)
def test_everything_is_annotated(name: str) -> None:
    signature = inspect.signature(getattr(roialign, name))
    assert signature.return_annotation is not inspect.Signature.empty
    for parameter in signature.parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty, parameter.name


@pytest.mark.parametrize("name", OPERATORS)
def test_docstring_has_every_section(name: str) -> None:
    text = inspect.getdoc(getattr(roialign, name)) or ""
    first, _, rest = text.partition("\n\n")
    assert "\n" not in first, "the first paragraph is one line"
    assert first.endswith("."), "the first line is a sentence"
    assert "oncretely, " in rest, "it says what is computed, by index"
    for section in ("Parameters", "Returns", "Raises", "Examples"):
        assert f"\n{section}\n{'-' * len(section)}\n" in text, section
    assert ">>> import roialign" in text
    for parameter in inspect.signature(getattr(roialign, name)).parameters:
        documented = parameter in text or name.endswith("_backward")
        assert documented, f"{parameter} is not described"


@pytest.mark.parametrize("name", FROM_PAPERS)
def test_docstring_names_the_paper(name: str) -> None:
    text = inspect.getdoc(getattr(roialign, name)) or ""
    assert "References\n----------" in text
    assert "https://arxiv.org/abs/" in text


@pytest.mark.parametrize("name", SIGNATURES)
@pytest.mark.usefixtures("threads")
def test_examples_in_docstrings_run(name: str) -> None:
    function = getattr(roialign, name)
    tests = doctest.DocTestFinder(recurse=False).find(function, name, globs={})
    report: list[str] = []
    for test in tests:
        doctest.DocTestRunner(verbose=False).run(test, out=report.append)
    assert not report, "".join(report)
    if name in OPERATORS:
        assert sum(len(test.examples) for test in tests) > 1, "there is an example"


def test_examples_in_the_readme_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) > 1
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


# What an import loads

HEAVY = (
    "torch",
    "jax",
    "typer",
    "rich",
    "matplotlib",
    "PIL",
    "ml_dtypes",
    "roialign._core",
    "roialign.numpy.cpu.separable",
)


def heavy_modules_after(statements: str) -> list[str]:
    """Which modules that a user may not have, or not need, the statements load."""
    script = f"import sys\n{statements}\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    return run_python(script).split()


def test_import_loads_no_framework_and_no_compiled_core() -> None:
    assert heavy_modules_after("import roialign") == []
    assert heavy_modules_after("from roialign import *") == []


def test_the_reference_needs_no_compiled_core() -> None:
    call = "roialign.roi_align(np.ones((1, 1, 4, 4)), np.array([[0, 0, 0, 3, 3]]), 2, backend='reference')"
    assert heavy_modules_after(f"import numpy as np, roialign\n{call}") == []


@pytest.mark.parametrize("module", ["typer", "matplotlib", "roialign._core"])
def test_the_check_of_imports_can_fail(module: str) -> None:
    assert module in heavy_modules_after(f"import {module}\nimport roialign")


def test_the_core_is_loaded_at_its_first_use() -> None:
    call = "roialign.taps(4, 0.0, 1.0, 1)"
    assert heavy_modules_after(f"import roialign\n{call}") == ["roialign._core", "roialign.numpy.cpu.separable"]


# Threads and build


def test_threads_come_from_the_environment_and_can_be_set() -> None:
    script = """
    import os
    os.environ["OMP_NUM_THREADS"] = "3"
    import roialign
    assert roialign.get_num_threads() == 3
    roialign.set_num_threads(5)
    assert roialign.get_num_threads() == 5
    """
    run_python(script)
    script = """
    import os
    os.environ.pop("OMP_NUM_THREADS", None)
    import roialign
    assert roialign.get_num_threads() == len(os.sched_getaffinity(0))
    """
    run_python(script)


@pytest.mark.parametrize("value", ["", "0", "-2", "many", "2,4", "1000000", "99999999999999999999"])
def test_an_odd_environment_leaves_a_usable_number_of_threads(value: str) -> None:
    run_python(f"""
    import os
    os.environ["OMP_NUM_THREADS"] = {value!r}
    import numpy as np, roialign
    assert 1 <= roialign.get_num_threads() <= 1024, roialign.get_num_threads()
    assert roialign.roi_align(np.ones((1, 1, 4, 4)), np.array([[0, 0, 0, 3, 3]]), 2).shape == (1, 1, 2, 2)
    """)


def test_build_info() -> None:
    info = roialign.build_info()
    assert info["version"] == roialign.__version__
    assert info["numpy"] == np.__version__
    assert info["isa"] in info["isa_supported"]  # type: ignore[operator]
    assert set(info["isa_supported"]) <= set(info["isa_built"])  # type: ignore[arg-type]
    assert info["compiler"]
    assert info["threads"] == roialign.get_num_threads()


# Corners


def test_levels_come_from_the_scales_that_are_given() -> None:
    """A pyramid of stride 14 and 28 has those strides, not the powers of two nearest to some shape."""
    maps = [np.full((1, 1, 36, 36), 1.0), np.full((1, 1, 18, 18), 2.0)]
    scales = [1 / 14, 1 / 28]
    assert roialign.fpn_levels(np.array([[0, 0, 224, 224], [0, 0, 448, 448]]), scales).tolist() == [0, 1]
    ramp = np.arange(36.0)[None, None, None, :].repeat(36, axis=2)
    box = np.array([[0, 14.0 * 4, 14.0 * 4, 14.0 * 8, 14.0 * 8]])
    answer = roialign.multiscale_roi_align([ramp, maps[1]], box, 1, scales, 2, aligned=False)
    np.testing.assert_allclose(answer.ravel(), [6.0], rtol=1e-12)


def test_levels_of_boxes_beside_a_power_of_two() -> None:
    """A side of 223.99995 belongs to the level of 224, as torchvision and mmdet have it."""
    scales = [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    sides = [0.0, 1.0, 55.9, 111.0, 112.0, 223.9, 223.99995, 224.0, 447.0, 448.0, 1e6]
    boxes = np.array([[10, 20, 10 + side, 20 + side] for side in sides])
    assert roialign.fpn_levels(boxes, scales).tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 2, 3, 3]
    inverted = boxes[:, [2, 1, 0, 3]]
    assert roialign.fpn_levels(inverted, scales).tolist() == [0] * len(sides)
    assert roialign.fpn_levels(np.array([[0, 0, 224, 224]]), scales, canonical_size=112).tolist() == [3]
    assert roialign.fpn_levels(np.array([[0, 0, 224, 224]]), scales, canonical_level=3).tolist() == [1]
    assert roialign.fpn_levels(np.array([[7, 0, 0, 224, 224]]), scales).tolist() == [2]


def test_levels_of_huge_boxes_are_quiet() -> None:
    boxes = np.array([[-1e100, -1e100, 1e100, 1e100], [0, 0, 1e100, 1e-100]])
    assert roialign.fpn_levels(boxes, [1 / 4, 1 / 8]).tolist() == [1, 0]


def test_a_row_of_a_pyramid_keeps_its_place(backend_name: str) -> None:
    maps = [np.full((2, 1, 8, 8), level, dtype=np.float64) for level in range(3)]
    rois = np.array([[image, 0, 0, 3, 3] for image in (1, 0, 1, 0, 1, 0)], dtype=np.float64)
    levels = np.array([2, 0, 1, 2, 0, 1])
    answer = roialign.multiscale_roi_align(maps, rois, 2, [1, 0.5, 0.25], levels=levels, backend=backend_name)
    assert answer[:, 0, 0, 0].tolist() == levels.tolist()


def test_output_need_not_be_square(backend_name: str) -> None:
    ys, xs = np.mgrid[0:20, 0:20]
    both = np.stack([ys, xs])[None].astype(np.float64)
    answer = roialign.roi_align(both, np.array([[0, 2.5, 4.5, 14.5, 10.5]]), (2, 4), backend=backend_name)
    np.testing.assert_allclose(answer[0, 0], [[5.5] * 4, [8.5] * 4], rtol=1e-12)
    np.testing.assert_allclose(answer[0, 1], [[3.5, 6.5, 9.5, 12.5]] * 2, rtol=1e-12)
