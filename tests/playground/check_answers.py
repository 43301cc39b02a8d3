"""The page's numbers, in Chromium, beside the reference's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

import roialign
from tests.playground.browser import Window, features_of
from tests.playground.reference import RULES, answer_of, bins_of, taps_of
from tests.playground.states import OPERATORS, SETTINGS, address, state_of
from tests.tables.paths import ROOT
from tests.tables.tolerances import assert_close

CELLS = [(operator, setting) for operator in OPERATORS for setting in SETTINGS]


@pytest.mark.parametrize(("operator", "setting"), CELLS)
def test_the_answers_are_those_of_the_reference(shared_window: Window, operator: str, setting: str) -> None:
    text = address(operator, setting)
    shown, state = shared_window.go(text), state_of(text)
    features = features_of(shown)
    expected, results = answer_of(state, features), shown["results"]
    largest = float(np.abs(features).max())

    pooled = np.array(results["pooled"]).reshape(expected.pooled.shape)
    assert_close(pooled, expected.pooled, "float64", largest, "pooled")
    grad_features = np.array(results["grad_features"]).reshape(features.shape)
    assert_close(grad_features, expected.grad_features, "float64", 1.0, "gradient to the features")
    # The slope of a bin is a difference of two values per map pixel.
    assert_close(np.array(results["grad_box"]), expected.grad_box, "float64", 2 * largest, "gradient to the box")
    pool = answer_of(state_of(address("pool", setting)), features)
    assert_close(np.array(shown["roi_pool"]), pool.pooled.reshape(-1), "float64", largest, "RoIPool")


@pytest.mark.parametrize(("operator", "setting"), CELLS)
def test_the_taps_bins_and_points_are_those_of_the_answer(shared_window: Window, operator: str, setting: str) -> None:
    text = address(operator, setting)
    shown, state = shared_window.go(text), state_of(text)
    features, results = features_of(shown), shown["results"]
    height, width = features.shape[2:]
    for axis, (name, size) in enumerate((("y", height), ("x", width))):
        ends = np.array(results[f"bins_{name}"]).reshape(-1, 2)
        assert_close(ends, bins_of(state, axis, size), "float64", size + 1.0, f"bins along {name}")
        taps = np.array(results[f"taps_{name}"])
        if operator not in RULES:
            assert taps.size == 0
        else:
            assert_close(taps.reshape(-1, size), taps_of(state, axis, size), "float64", 1.0, f"taps along {name}")

    points = np.array(results["points"]).reshape(-1, 4)
    assert len(points) > 0
    pooled = np.array(results["pooled"]).reshape(features.shape[1], -1)
    for number in range(pooled.shape[1]):
        _, y, x, share = points[points[:, 0] == number].T
        if operator == "prroi" and (min(y.min(), x.min()) < 0 or y.max() > height - 1 or x.max() > width - 1):
            continue  # its map falls to zero beyond the edge, and that of bilinear_interpolate does not
        values = roialign.bilinear_interpolate(features[0], x, y)
        found = values @ share if operator in RULES else values.max(axis=1, initial=-np.inf if y.size else 0.0)
        assert_close(found, pooled[:, number], "float64", 1e3, f"the points of bin {number}")


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("setting", ["one selected bin", "no half-pixel shift"])
def test_the_python_code_computes_what_is_shown(shared_window: Window, operator: str, setting: str) -> None:
    shown = shared_window.go(address(operator, setting))
    names: dict[str, Any] = {"np": np, "roialign": roialign, "features": features_of(shown)}
    pooled = eval(shown["python"], names)
    assert shared_window.page.locator("#python").inner_text() == shown["python"]
    assert_close(np.array(shown["results"]["pooled"]), pooled.reshape(-1), "float64", 255.0, shown["python"])


@pytest.mark.parametrize("stride", [8, 16, 32, 64])
def test_the_feature_map_of_the_photograph_has_means_of_its_pixels(shared_window: Window, stride: int) -> None:
    shown = shared_window.go(
        f"map=photograph&operator=align&stride={stride}&bins=2x2&points=2&aligned=yes&box=1,2,90,80"
    )
    with Image.open(ROOT / "playground" / "page" / "photograph.jpg") as photograph:
        pixels = np.asarray(photograph.convert("RGB"), dtype=np.float64).transpose(2, 0, 1)
    height, width = pixels.shape[1:]
    means = pixels.reshape(3, height // stride, stride, width // stride, stride).mean(axis=(2, 4))
    # Decoders of JPEG round differently, by up to a few units for a pixel.
    np.testing.assert_allclose(features_of(shown)[0], means, atol=2.0)


def test_number_maps_are_what_they_are_called(shared_window: Window) -> None:
    rest = "operator=align&stride=32&bins=2x2&points=2&aligned=yes&box=1,2,90,80"
    ramp, hill, random = (
        features_of(shared_window.go(f"map={name}&{rest}"))[0, 0] for name in ("ramp", "hill", "random")
    )
    np.testing.assert_array_equal(ramp, 10 * np.arange(12)[:, None] + np.arange(16))
    top = np.unravel_index(int(hill.argmax()), hill.shape)
    assert (np.diff(hill[top[0], : top[1] + 1]) >= 0).all()
    assert (np.diff(hill[top[0], top[1] :]) <= 0).all()
    assert set(np.unique(random)) == set(range(10)), "all digits"
