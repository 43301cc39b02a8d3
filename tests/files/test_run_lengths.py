"""Masks of COCO files: what reaches pycocotools is right, and what is wrong never does."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_masks

from roialign.files.run_lengths import (
    area_of,
    checked_counts,
    cropped,
    encoded,
    mask_of,
    placed,
    run_lengths_of,
)

HEIGHT, WIDTH = 48, 64


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.randoms(use_true_random=False))
def test_counts_of_either_form_give_the_mask_back(height: int, width: int, random: Any) -> None:
    share = random.random()
    mask = np.array([[random.random() < share for _ in range(width)] for _ in range(height)], dtype=np.uint8)
    compressed = encoded(mask)
    counts = checked_counts(compressed, height, width)
    assert sum(counts) == height * width
    # By hand: runs of zeros and of ones in turn, down the columns.
    values = np.repeat(np.arange(len(counts)) % 2, counts).reshape(width, height).T
    np.testing.assert_array_equal(values, mask)
    for form in (compressed["counts"], compressed["counts"].encode(), counts, [float(count) for count in counts]):
        lengths = run_lengths_of({"size": [height, width], "counts": form}, height, width)
        np.testing.assert_array_equal(mask_of(lengths), mask)
        assert area_of(lengths) == mask.sum()


def test_polygons_are_drawn_as_coco_draws_them() -> None:
    polygons = [[3.5, 4, 20, 4.5, 12, 30.25], [-5, -5, 10, -5, 10, 3, -5, 3]]
    expected = coco_masks.decode(coco_masks.merge(coco_masks.frPyObjects(polygons, HEIGHT, WIDTH)))
    np.testing.assert_array_equal(mask_of(run_lengths_of(polygons, HEIGHT, WIDTH)), expected)
    assert 100 < expected.sum() < 1000


def test_an_object_of_many_small_parts_is_no_endless_outline() -> None:
    parts = [[x, y, x + 3, y, x + 3, y + 3] for x in range(60, 0, -1) for y in range(44)]
    assert 0 < mask_of(run_lengths_of(parts, HEIGHT, WIDTH)).sum() <= HEIGHT * WIDTH


def _counts(value: object, size: object = (HEIGHT, WIDTH)) -> dict[str, object]:
    return {"size": list(size) if isinstance(size, tuple) else size, "counts": value}


WRONG: dict[str, tuple[object, str]] = {
    "too few": (_counts([10, 20]), "expected counts that add up to 3072 pixels, got 30"),
    "too many": (_counts([10, 20, 9999]), "expected counts that add up to 3072 pixels, got 10029"),
    "none": (_counts([]), "add up to 3072 pixels, got 0"),
    "no letters": (_counts(""), "add up to 3072 pixels, got 0"),
    "negative": (_counts([10, -20, 3082]), "expected counts of at least 0, got -20"),
    "wrapped": (_counts([3072, 2**32]), "add up to 3072 pixels, got 4294970368"),
    "huge": (_counts([10**400]), "add up to 3072 pixels, got 1000"),
    "text": (_counts(["10", 20]), "expected counts of at least 0, got '10'"),
    "fractions": (_counts([10.5, 3061.5]), "expected counts of at least 0, got 10.5"),
    "NaN": (_counts([float("nan")]), "expected counts of at least 0, got nan"),
    "truth": (_counts([True, 3071]), "expected counts of at least 0, got True"),
    "garbage": (_counts("zzzz\u00e9~~"), "character 4 is not valid in COCO's compressed counts"),
    "letters beyond": (_counts("zzzz~~"), "character 0 is not valid in COCO's compressed counts"),
    "cut short": (_counts("P`"), "counts: cut short"),
    "endless": (_counts("o" * 40 + "0"), "a number with too many characters"),
    "below zero": (_counts("O"), "expected counts of at least 0, got -1"),
    "another form": (_counts({"a": 1}), "expected counts as a list or as text"),
    "no size": ({"counts": [3072]}, "expected run lengths with size and counts"),
    "no counts": ({"size": [HEIGHT, WIDTH]}, "expected run lengths with size and counts"),
    "another size": (
        _counts([3072], (WIDTH, HEIGHT)),
        r"expected size \[48, 64\], the size of .*, got \[64, 48\]",
    ),
    "a size of text": (_counts([3072], "4864"), "expected run lengths with size and counts"),
    "a line": ([[1, 2, 3, 4]], r"expected polygons .* got 4 numbers as polygon 0"),
    "a half point": ([[0, 0, 9, 0, 9, 9], [0, 0, 9, 0, 9, 9, 5]], "got 7 numbers as polygon 1"),
    "a flat list": ([1, 2, 3, 4, 5, 6], "got 1 as polygon 0"),
    "points of text": ([["1", 2, 3, 4, 5, 6]], "polygon 0: expected finite numbers within 1000000 pixels, got '1'"),
    "a point at infinity": ([[1, 2, 3, 4, 5, float("inf")]], "polygon 0: expected finite numbers"),
    "a point that is none": ([[1, 2, 3, 4, 5, float("nan")]], "polygon 0: expected finite numbers"),
    "a point far away": ([[1, 2, 3, 4, 5, 10**400]], "polygon 0: expected finite numbers within 1000000 pixels"),
    "a point at the end of C": ([[1, 2, 3, 4, 5, 2**31]], "polygon 0: expected finite numbers within 1000000 pixels"),
    "an endless outline": ([[0, 0, 9e5, 9e5] * 100], "expected outlines of at most 2000000 pixels"),
    "many outlines": ([[0, 0, 9e5, 0, 9e5, 9]] * 3, "expected outlines of at most 2000000 pixels"),
    "no list": ("polygon", "expected polygons .* or run lengths with size and counts, got 'polygon'"),
    "an empty list": ([], "expected polygons"),
    "a number": (7, "expected polygons"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_before_pycocotools_sees_it(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("frPyObjects", "merge", "decode"):
        monkeypatch.setattr(coco_masks, name, lambda *_: pytest.fail("pycocotools was called"))
    segmentation, message = WRONG[case]
    with pytest.raises(ValueError, match=f"^segmentation: .*{message}|^segmentation: {message}") as raised:
        run_lengths_of(segmentation, HEIGHT, WIDTH)
    assert len(str(raised.value)) < 300


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(-9, 12), st.integers(-9, 12), st.integers(0, 2**32 - 1))
def test_a_part_of_a_mask_is_cut_out_and_put_back(height: int, width: int, x: int, y: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    mask = (random.random((height, width)) < random.choice([0.0, 0.1, 0.5, 1.0])).astype(np.uint8)
    compressed = encoded(mask)
    padded = np.pad(mask, 30)
    for form in (compressed, {**compressed, "counts": checked_counts(compressed, height, width)}):
        part = cropped(form, x, y, 7, 5)
        np.testing.assert_array_equal(part, padded[30 + y : 35 + y, 30 + x : 37 + x])
    expected = np.zeros_like(padded)
    expected[30 + y : 35 + y, 30 + x : 37 + x] = part
    expected = expected[30:-30, 30:-30]
    assert placed(part, x, y, height, width) == encoded(expected)


def test_a_part_of_a_large_mask_needs_little_memory() -> None:
    side = 20_000
    whole = placed(np.ones((300, 200), dtype=bool), 18_000, 19_900, side, side)
    assert area_of(whole) == 200 * 100
    tracemalloc.start()
    part = cropped(whole, 17_990, 19_890, 1024, 1024)
    placed(part, 17_990, 19_890, side, side)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert part.sum() == 200 * 100
    assert peak < side * side, "less than one byte per pixel of the image"
