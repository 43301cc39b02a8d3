"""Every pair of options of every operator: the answers of the reference, the same bits for threads, buffers and `need`.

`make test` goes through the pairs once. The slow tests do so with other arrays, and other triples of options.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import roialign
from roialign._regions import Geometry, Regions
from roialign.numpy.cpu import pointwise
from tests.tables.combinations import MUTE, OPTIONS, Combination, covering, pairs_of
from tests.tables.drawn_calls import DrawnCall
from tests.tables.tolerances import assert_close, assert_same_bits

every_operator = pytest.mark.parametrize("name", OPTIONS)
pytestmark = pytest.mark.filterwarnings("ignore::roialign.RoIWarning")

#: Parameters that say what the arrays of a call are, and those that options of arrays are about.
OF_ARRAYS = {
    "features": {"dtype", "memory", "map_size", "images", "blocks"},
    "rois": {"rois", "kinds", "rois_dtype", "rois_memory", "structure"},
    "boxes": {"rois", "kinds", "rois_dtype", "rois_memory"},
    "batch_indices": {"structure"},
    "box_indices": {"images"},
    "crop_size": {"output_size"},
    "spatial_scales": {"spatial_scale", "maps"},
    "canonical_size": {"levels"},
    "canonical_level": {"levels"},
    "seed": {"sampling"},
}


# The table


@every_operator
def test_every_parameter_is_an_option(name: str) -> None:
    """A new parameter has to find its place in the table."""
    for parameter in inspect.signature(getattr(roialign, name)).parameters:
        assert OF_ARRAYS.get(parameter, {parameter}) <= set(OPTIONS[name]), parameter


@every_operator
def test_every_pair_occurs(name: str) -> None:
    seen = set()
    for combination in covering(OPTIONS[name], 0):
        choices = set(combination.items())
        mute = choices & MUTE
        assert len(mute) <= 1
        assert all(value in OPTIONS[name][option] for option, value in choices)
        seen |= {pair for pair in pairs_of(OPTIONS[name]) if pair <= choices and mute <= pair}
    assert seen == set(pairs_of(OPTIONS[name]))


# What holds of each combination


def check(name: str, combination: Combination, seed: int) -> None:
    call = DrawnCall(name, combination, seed)
    output, gradients = call.forward(), call.backward()
    _check_answers(call, output, gradients)
    _check_bits(call, output, gradients)


def _check_answers(call: DrawnCall, output: Any, gradients: list[Any]) -> None:
    kind = call.options["dtype"]
    assert_close(output, call.forward(**call.wide), kind, call.largest, "forward")
    if call.tells_winners:
        wanted = call.backward(**call.wide, grad_output=call.gradient.astype(np.float64))
        for what, found, right, scale in zip(call.of, gradients, wanted, call.scales(), strict=True):
            assert (found is None) == (right is None), what
            for part, expected in zip(call.parts(found), call.parts(right), strict=True):
                precision = kind if what == "features" else _coarser(kind, part.dtype.name)
                assert_close(part, expected.astype(np.float64), precision, scale, f"gradient of {what}")


def _coarser(kind: str, of_result: str) -> str:
    """Geometry is float64, as are its gradients, but pixels and results may be float32."""
    return "float64" if kind == of_result == "float64" else "float32"


def _check_bits(call: DrawnCall, output: Any, gradients: list[Any]) -> None:
    out = call.buffer()
    if out is not None:
        assert call.forward(out=out) is out
        assert_same_bits(out, output, "out=")
    roialign.set_num_threads(2)
    _assert_same(call, [call.forward(), *call.backward()], [output, *gradients], "two threads")
    roialign.set_num_threads(1)
    _assert_same(call, [call.forward(), *call.backward()], [output, *gradients], "one thread")
    for place, name in enumerate(call.of if call.moving else ()):
        if gradients[place] is not None:
            alone = call.backward(need=(name,))
            assert [part is not None for part in alone] == [other == name for other in call.of]
            _assert_same(call, [alone[place]], [gradients[place]], f"need={name!r}")


def _assert_same(call: DrawnCall, found: list[Any], expected: list[Any], what: str) -> None:
    for one, other in zip(call.parts(found), call.parts(expected), strict=True):
        assert_same_bits(one, other, what)


def check_all(name: str, seed: int) -> None:
    for index, combination in enumerate(covering(OPTIONS[name], seed)):
        try:
            check(name, combination, 1000 * seed + index)
        except Exception as error:
            plain = {option: values[0] for option, values in OPTIONS[name].items()}
            other = {option: value for option, value in combination.items() if value != plain[option]}
            error.add_note(f"{name} with {other}")
            raise


@every_operator
@pytest.mark.usefixtures("threads")
def test_pairs(name: str) -> None:
    check_all(name, 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
@every_operator
@pytest.mark.usefixtures("threads")
def test_more_pairs(name: str, seed: int) -> None:
    check_all(name, seed)


# Faults that are seen


def _without_mask(*arguments: Any, **more: Any) -> Geometry:
    """A fault that the core had: the weight of a single bin was left out of the gradients of boxes and offsets."""
    spec, gradient, features, regions = arguments
    found = honest(spec, gradient, features, regions, **more)
    if regions.mask is None or regions.mask.shape[1:] != (1, 1):
        return found
    plain: Regions = regions._replace(mask=np.ones_like(regions.mask))
    return honest(spec, gradient, features, plain, **more)._replace(mask=found.mask)


honest = pointwise.adjoint_geometry


@pytest.mark.usefixtures("threads")
def test_a_mask_that_one_bin_forgets_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pointwise, "adjoint_geometry", _without_mask)
    with pytest.raises(AssertionError, match=r"gradient of (rois|offset): .* values are wrong"):
        check_all("deform_roi_pool", 0)
