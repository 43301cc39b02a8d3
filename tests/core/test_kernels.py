"""The compiled core against the reference: every case, dtype, layout and number of threads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import roialign
from roialign._regions import Geometry, Regions
from roialign.numpy.cpu import separable as cpu
from roialign.reference import separable
from tests.tables import kernels
from tests.tables.answers import ADJOINT_BOXES_ORDERS, ADJOINT_FEATURES_ORDERS, EVERY_CASE, FORWARD_ORDERS, expected
from tests.tables.cases import BY_NAME, EVERY_KIND, Array, Case, roi_align_spec
from tests.tables.kernels import DTYPES, Guarded
from tests.tables.layouts import BY_NAME as LAYOUT
from tests.tables.layouts import LAYOUTS, Layout
from tests.tables.paths import ROOT
from tests.tables.python import run_python
from tests.tables.tolerances import assert_close, assert_same_bits

THREADS = (1, 2, 3)

every_case = pytest.mark.parametrize("case", EVERY_CASE, ids=lambda case: case.name)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)


def with_each_number_of_threads(call: Callable[[], list[Array]]) -> list[Array]:
    """The answers of a call; an AssertionError if their bits depend on the number of threads."""
    answers = []
    for count in THREADS:
        roialign.set_num_threads(count)
        answers.append(call())
    for others in answers[1:]:
        for answer, first in zip(others, answers[0], strict=True):
            assert_same_bits(answer, first, "another number of threads")
    return answers[0]


@every_case
@every_dtype
@every_layout
@pytest.mark.usefixtures("threads")
def test_forward(case: Case, dtype: str, layout: Layout) -> None:
    inputs = expected(case.name).inputs
    for order in kernels.orders(case, dtype, FORWARD_ORDERS):
        call = partial(kernels.forward, case, inputs, dtype, layout, order)
        (answer,) = with_each_number_of_threads(lambda call=call: [call()])
        expected(case.name).check_forward(answer, dtype, order)


@every_case
@every_dtype
@every_layout
@pytest.mark.usefixtures("threads")
def test_adjoint_features(case: Case, dtype: str, layout: Layout) -> None:
    inputs = expected(case.name).inputs
    for order in kernels.orders(case, dtype, ADJOINT_FEATURES_ORDERS):
        call = partial(kernels.adjoint_features, case, inputs, dtype, layout, order)
        expected(case.name).check_adjoint_features(with_each_number_of_threads(call), dtype, order)


@every_case
@every_dtype
@every_layout
@pytest.mark.usefixtures("threads")
def test_adjoint_boxes(case: Case, dtype: str, layout: Layout) -> None:
    inputs = expected(case.name).inputs
    for order in kernels.orders(case, dtype, ADJOINT_BOXES_ORDERS):
        call = partial(kernels.adjoint_boxes, case, inputs, dtype, layout, order)
        (answer,) = with_each_number_of_threads(lambda call=call: [call()])
        expected(case.name).check_adjoint_boxes(answer, dtype, order)


@pytest.mark.parametrize("isa", roialign.build_info()["isa_supported"])
def test_every_instruction_set(isa: str, tmp_path: Path) -> None:
    """A process of its own for each, since one is chosen when the core is loaded; compared here."""
    run_python(
        f"""
        import os, sys
        os.environ["ROIALIGN_ISA"] = {isa!r}
        sys.path.insert(0, {str(ROOT)!r})
        import roialign
        from tests.tables import kernels
        assert roialign.build_info()["isa"] == {isa!r}
        kernels.record({str(tmp_path / "answers.npz")!r})
        """
    )
    with np.load(tmp_path / "answers.npz") as recorded:
        kernels.check_recorded(recorded)


def test_an_unknown_instruction_set_is_an_error() -> None:
    run_python(
        """
        import os
        os.environ["ROIALIGN_ISA"] = "sse9"
        import numpy as np, roialign
        try:
            roialign.roi_align(np.ones((1, 1, 4, 4)), np.array([[0, 0, 0, 3, 3]]), 2)
        except (ImportError, ValueError) as error:
            assert "ROIALIGN_ISA: expected one of" in str(error), error
            assert "got 'sse9'" in str(error), error
        else:
            raise SystemExit(1)
        """
    )


@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (3,), (0, 1, 2, 3)], ids=str)
@every_dtype
@pytest.mark.parametrize("rule", ["grid", "exact"])
def test_broadcast_inputs(dtype: str, rule: str, axes: tuple[int, ...]) -> None:
    """Strides of zero: one value in the place of many."""
    case = Case("broadcast", "strides of zero", roi_align_spec(rule), channels=17, kinds=EVERY_KIND[:6])
    inputs = case.draw()
    first = tuple(slice(0, 1) if axis in axes else slice(None) for axis in range(4))
    features = np.broadcast_to(inputs.features[0].astype(DTYPES[dtype])[first], inputs.features[0].shape)
    gradient = np.broadcast_to(inputs.grad_output.astype(DTYPES[dtype])[first], inputs.grad_output.shape)
    common = (case.scales, inputs.rois, inputs.levels)
    out = np.full(gradient.shape, np.nan, dtype=DTYPES[dtype])
    cpu.forward(case.spec, [features], Regions(*common), out)
    right = separable.forward(case.spec, [features.astype(np.float64)], *common, gradient.shape[2:])
    largest = float(np.abs(features.astype(np.float64)).max())
    assert_close(out, right, dtype, largest, "forward")

    maps = [np.full(features.shape, np.nan, dtype=DTYPES[dtype])]
    cpu.adjoint_features(case.spec, gradient, (), Regions(*common), maps)
    magnitude = np.abs(gradient.astype(np.float64))
    wide = gradient.astype(np.float64)
    (right,) = separable.adjoint_features(case.spec, wide, [features.shape], *common)
    (scale,) = separable.adjoint_features(case.spec, magnitude, [features.shape], *common)
    assert_close(maps[0], right, dtype, scale, "adjoint_features")


@pytest.mark.parametrize("rule", ["grid", "random", "exact"])
def test_float64_keeps_every_bit_of_its_values(rule: str) -> None:
    """The table's values are short, to fit every dtype; these are not."""
    case = Case("long values", "all 53 bits", roi_align_spec(rule))
    inputs = case.draw()
    features = [level + 1e-9 * np.sin(np.arange(level.size)).reshape(level.shape) for level in inputs.features]
    common = (case.scales, inputs.rois, inputs.levels)
    out = np.full(inputs.grad_output.shape, np.nan)
    cpu.forward(case.spec, features, Regions(*common), out)
    right = separable.forward(case.spec, features, *common, out.shape[2:])
    assert_close(out, right, "float64", float(np.abs(features[0]).max()))


@every_dtype
def test_inputs_may_be_read_only_and_stay_as_they_were(dtype: str) -> None:
    case, wanted = BY_NAME["pyramid"], expected("pyramid")
    inputs = wanted.inputs
    arrays = [level.astype(DTYPES[dtype]) for level in inputs.features]
    gradient = inputs.grad_output.astype(DTYPES[dtype])
    everything = [*arrays, gradient, inputs.rois.copy(), inputs.levels.copy(), *(t.copy() for t in inputs.tangents)]
    copies = [array.copy() for array in everything]
    for array in everything:
        array.flags.writeable = False
    rois, levels, tangents = everything[-4], everything[-3], everything[-2:]
    out = np.full(gradient.shape, np.nan, dtype=DTYPES[dtype])
    regions, moved = Regions(case.scales, rois, levels), [Geometry(tangent) for tangent in tangents]
    cpu.forward(case.spec, arrays, regions, out, moved)
    cpu.adjoint_geometry(case.spec, gradient, arrays, regions, moved[:1])
    maps = [np.full_like(level, np.nan) for level in arrays]
    cpu.adjoint_features(case.spec, gradient, arrays, regions, maps, moved)
    for array, copy in zip(everything, copies, strict=True):
        assert_same_bits(array.view(f"u{array.dtype.itemsize}"), copy.view(f"u{copy.dtype.itemsize}"))
    assert_close(out, wanted.answers.forward[2], dtype, wanted.scales.forward[2])


@pytest.mark.parametrize("name", ["grid, adaptive", "exact", "crop, fill"])
@every_dtype
def test_output_in_another_layout_than_the_input(name: str, dtype: str) -> None:
    case, wanted = BY_NAME[name], expected(name)
    inputs, kind = wanted.inputs, DTYPES[dtype]
    common = (case.scales, inputs.rois, inputs.levels)
    for source, target in (("nchw", "nhwc"), ("nhwc", "nchw"), ("negative", "sliced"), ("nhwc", "columns first")):
        output = Guarded(LAYOUT[target], [inputs.grad_output.shape], kind)
        cpu.forward(case.spec, [LAYOUT[source].of(inputs.features[0], kind)], Regions(*common), output.views[0])
        assert_close(output.values()[0], wanted.answers.forward[0], dtype, wanted.scales.forward[0], target)
        gradients = Guarded(LAYOUT[target], [inputs.features[0].shape], kind)
        cpu.adjoint_features(
            case.spec, LAYOUT[source].of(inputs.grad_output, kind), (), Regions(*common), gradients.views
        )
        right, scale = wanted.answers.adjoint_features[0][0], wanted.scales.adjoint_features[0][0]
        assert_close(gradients.values()[0], right, dtype, scale, target)


@pytest.mark.parametrize("name", ["grid, 70 points", "random, 3 x 2", "exact", "prroi", "crop", "map of one pixel"])
@pytest.mark.parametrize("order", [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)], ids=str)
def test_taps(name: str, order: tuple[int, int]) -> None:
    """The matrix itself, over the axes of a case's boxes."""
    from roialign.reference.taps import taps

    case = BY_NAME[name]
    spec, size = case.spec, case.maps[0][1]
    for _, x1, _, x2, _ in case.draw().rois.tolist():
        scale = spec.scale(case.scales[0], size)
        start = x1 * scale - spec.offset
        length = max(x2 * scale - spec.offset - start, spec.minimum_length)
        arguments = (size, start, length, 5, spec.sampling_ratio[1], spec.rule)
        right = taps(*arguments, derivative=order, seed=7)
        answer = cpu.taps(*arguments, derivative=order, seed=7)
        assert answer.dtype == np.float64
        assert_close(answer, right, "float64", max(1.0, float(np.abs(right).max())), f"start {start}, length {length}")


@pytest.mark.parametrize("channels", [1, 32, 150])
@pytest.mark.parametrize("sampling", ["grid", "exact"])
@pytest.mark.parametrize("side", [16, 40, 90, 300])
@every_dtype
def test_rounding_does_not_grow_with_the_size_of_a_bin(dtype: str, side: int, sampling: str, channels: int) -> None:
    """Equal values, whose sum is rounded in the same direction at every step."""
    features = np.full((1, side + 4, side + 4, channels), 1.0, dtype=DTYPES[dtype])
    sides = side * np.array([1.0, 0.97, 0.93])
    rois = np.column_stack([np.zeros(3), np.full((3, 2), 2.3), 2.3 + sides, 2.3 + sides])
    for layout in ("NHWC", "NCHW"):
        given = features if layout == "NHWC" else np.ascontiguousarray(features.transpose(0, 3, 1, 2))
        pooled = roialign.roi_align(given, rois, 1, sampling=sampling, layout=layout)
        assert_close(pooled, np.ones(pooled.shape), dtype, 1.0, layout)
