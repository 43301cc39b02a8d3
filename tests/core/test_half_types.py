"""float16 and bfloat16: every value read right, every answer rounded to nearest, ties to even."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import roialign
from tests.tables.paths import ROOT
from tests.tables.python import run_python

DTYPES = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}


def halfway_means(dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """What RoIAlign gives halfway between neighbouring values of the type, over all of them, and what it should.

    Channels are the finite values of one sign in order; the two pixels of a row are a value and its successor, and the
    point in their middle is a tie between the two.
    """
    limit = int(np.array(np.inf, dtype=dtype).view(np.uint16))
    values = np.arange(limit, dtype=np.uint16).view(dtype)
    values = np.concatenate([values, -values])
    pairs = np.stack([values[:-1], values[1:]], axis=-1)
    features = np.ascontiguousarray(pairs.T)[None, None]  # [1, 1, 2, C]
    middle = np.array([[0, 1.0, 0.5, 1.0, 0.5]])  # half a pixel off the feature coordinates (0.5, 0)
    answer = roialign.roi_align(features, middle, 1, sampling_ratio=1, layout="NHWC")[0, 0, 0]
    wide = features[0, 0].astype(np.float32)
    return answer, (0.5 * wide[0] + 0.5 * wide[1]).astype(dtype)


def check_rounding(name: str) -> None:
    answer, right = halfway_means(DTYPES[name])
    assert len(answer) > 60000
    np.testing.assert_array_equal(answer.view(np.uint16) & 0x7FFF, right.view(np.uint16) & 0x7FFF)


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("isa", roialign.build_info()["isa_supported"])
def test_ties_go_to_even(name: str, isa: str) -> None:
    run_python(
        f"""
        import os, sys
        os.environ["ROIALIGN_ISA"] = {isa!r}
        sys.path.insert(0, {str(ROOT)!r})
        from tests.core.test_half_types import check_rounding
        check_rounding({name!r})
        """
    )
