"""What the core remembers of a function: its latest results, by settings that are exactly the same."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest

import roialign
from roialign import _core


class Result:
    """An object that can be referred to weakly."""

    def __init__(self, settings: tuple[object, ...]) -> None:
        self.settings = settings


def remembered(*fixed: type) -> Any:
    return _core.Remembered(Result, fixed)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((1, 0.25, "avg", None, True), (1, 0.25, "avg", None, True)),
        ((10**30, 1e300, "a" * 100), (int("1" + "0" * 30), float("1e300"), "".join(["a"] * 100))),
        (((7, 7), (0.5, 0.25)), (tuple(map(int, "77")), tuple(map(float, ("0.5", "0.25"))))),
        ((), ()),
        (([7, 7], [0.5, (1, [2])]), ([7, 7], [0.5, (1, [2])])),
    ],
)
def test_the_same_settings(first: tuple[object, ...], second: tuple[object, ...]) -> None:
    plans = remembered()
    assert plans(first) is plans(second)
    assert plans(second).settings == first


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (0, False),
        (1, 1.0),
        (0.0, -0.0),
        ("a", "b"),
        (None, 0),
        ((1, 2), (True, 2)),
        ((1,), (1, 1)),
        ((), 0),
        ([1], (1,)),
        ([1], [True]),
    ],
)
def test_settings_that_are_equal_but_not_the_same(one: object, other: object) -> None:
    plans = remembered()
    first, second = plans((one,)), plans((other,))
    assert (first.settings, second.settings) == ((one,), (other,))
    assert first is plans((one,))
    assert second is plans((other,))
    assert first is not second


def test_a_number_that_is_none() -> None:
    plans, nan = remembered(), float("nan")
    assert plans((nan,)) is plans((nan,))
    assert plans((nan,)) is plans((float("nan"),))  # of the same bits


@pytest.mark.parametrize("value", [np.float64(1.0), np.array(1), b"a", {1}, {1: 2}, type("Number", (int,), {})(1)])
def test_what_may_change_is_not_remembered(value: object) -> None:
    plans = remembered()
    assert plans((value,)) is not plans((value,))
    assert plans(((1, value),)) is not plans(((1, value),))


def test_a_list_may_change() -> None:
    plans, sizes = remembered(), [7, 7]
    first = plans((sizes,))
    sizes[0] = 3
    assert plans((sizes,)) is not first
    assert plans(([7, 7],)) is first


def test_fixed_types_are_compared_by_identity() -> None:
    kind = type("Kind", (tuple,), {})
    plans, one, equal = remembered(kind), kind([1]), kind([1])
    assert plans((one, 2)) is plans((one, 2))
    assert plans((one, 2)) is not plans((equal, 2))


def test_the_latest_results_are_kept() -> None:
    plans = remembered()
    often = plans((-1,))
    dropped = weakref.ref(plans((0,)))
    for number in range(1, 1000):
        assert plans((number,)).settings == (number,)
        assert plans((-1,)) is often
    assert dropped() is None


def test_errors_are_not_remembered() -> None:
    def make(settings: tuple[object, ...]) -> object:
        calls.append(settings)
        raise ValueError(f"{len(calls)}")

    calls: list[object] = []
    plans = _core.Remembered(make, ())
    for number in (1, 2):
        with pytest.raises(ValueError, match=str(number)):
            plans((1,))


def test_a_function_may_ask_for_other_settings() -> None:
    def make(settings: Any) -> Any:
        (number,) = settings
        return 1 if number == 0 else number * plans((number - 1,))

    plans: Any = _core.Remembered(make, ())
    assert plans((70,)) == plans((69,)) * 70


def test_calls_with_equal_arguments_of_other_types() -> None:
    features, rois = np.ones((1, 1, 4, 4)), np.array([[0.0, 0, 0, 3, 3]])
    for _ in range(2):
        roialign.roi_align(features, rois, (1, 1), 1.0, 1)
        with pytest.raises(TypeError, match="sampling_ratio: expected"):
            roialign.roi_align(features, rois, (1, 1), 1.0, True)
        with pytest.raises(TypeError, match="output_size: expected an int or a pair"):
            roialign.roi_align(features, rois, (True, 1), 1.0, 1)
        with pytest.raises(TypeError, match="spatial_scale: expected"):
            roialign.roi_align(features, rois, (1, 1), True, 1)
        with pytest.raises(TypeError, match="aligned: expected"):
            roialign.roi_align(features, rois, (1, 1), 1.0, 1, aligned=1)  # type: ignore[arg-type]
