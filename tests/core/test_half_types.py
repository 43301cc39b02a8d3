"""float16 and bfloat16: every value read right, every answer rounded to nearest, ties to even."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import roialign
from tests.tables.paths import ROOT
from tests.tables.python import run_python

DTYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def means(pairs: np.ndarray, layout: str) -> tuple[np.ndarray, np.ndarray]:
    """RoIAlign in the middle between two pixels of every channel, and the mean of the two, rounded to their type.

    ``pairs`` are of shape ``[channels, 2]``.
    """
    features = np.ascontiguousarray(pairs.T)[None, None]  # [1, 1, 2, C]
    if layout == "NCHW":
        features = np.ascontiguousarray(features.transpose(0, 3, 1, 2))
    middle = np.array([[0, 1.0, 0.5, 1.0, 0.5]])  # half a pixel off the feature coordinates (0.5, 0)
    answer = roialign.roi_align(features, middle, 1, sampling_ratio=1, layout=layout).reshape(-1)
    wide = pairs.astype(np.float32)
    with np.errstate(all="ignore"):
        return answer, (0.5 * wide[:, 0] + 0.5 * wide[:, 1]).astype(pairs.dtype)


def neighbours(dtype: type) -> np.ndarray:
    """Every finite value with its successor, in order. Their mean is a tie between the two."""
    limit = int(np.array(np.inf, dtype=dtype).view(np.uint16))
    values = np.arange(limit, dtype=np.uint16).view(dtype)
    values = np.concatenate([values, -values])
    return np.stack([values[:-1], values[1:]], axis=-1)


def mixtures(dtype: type) -> np.ndarray:
    """Pairs of any bits, and ordinary values among which a few are subnormal, zero, infinite or NaN."""
    rng = np.random.default_rng(0)
    any_bits = rng.integers(0, 1 << 16, (1 << 14, 2), dtype=np.uint16).view(dtype)
    ordinary = rng.uniform(-4, 4, (1 << 16, 2)).astype(dtype)
    special = np.array([1, 0x8001, 0x41, 0, 0x8000], dtype=np.uint16).view(dtype)
    special = np.concatenate([special, np.array([np.inf, -np.inf, np.nan], dtype=dtype)])
    places = rng.integers(0, len(ordinary), 1000)  # one in 65 channels: some vectors have one, some none
    ordinary[places] = rng.choice(special, 1000)[:, None]
    return np.concatenate([any_bits, ordinary])


def check_rounding(name: str) -> None:
    for pairs in (neighbours(DTYPES[name]), mixtures(DTYPES[name])):
        for layout in ("NHWC", "NCHW"):
            answer, right = means(pairs, layout)
            assert len(answer) > 60000
            is_nan = np.isnan(right)
            np.testing.assert_array_equal(np.isnan(answer), is_nan)
            # The sign of 0 is not compared: sums begin with 0.
            bits, right_bits = (found[~is_nan].view(np.uint16) for found in (answer, right))
            np.testing.assert_array_equal(
                np.where(bits == 0x8000, 0, bits), np.where(right_bits == 0x8000, 0, right_bits)
            )


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("isa", roialign.build_info()["isa_supported"])
def test_answers_are_rounded_to_nearest(name: str, isa: str) -> None:
    run_python(
        f"""
        import os, sys
        os.environ["ROIALIGN_ISA"] = {isa!r}
        sys.path.insert(0, {str(ROOT)!r})
        from tests.core.test_half_types import check_rounding
        check_rounding({name!r})
        """
    )
