"""What code that was written for another package reads, replaces, subclasses or imports."""

from __future__ import annotations

import warnings

from roialign.compat import mmcv


def test_warnings_of_deprecated_names_point_to_the_caller() -> None:
    """Python shows a DeprecationWarning only if it belongs to the user's script."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mmcv.RoIAlign(out_size=2, sample_num=2)  # type: ignore[call-arg]
        mmcv.SingleRoIExtractor({"type": "RoIAlignRotated", "out_size": 2}, 3, [4])
    assert [warning.filename for warning in caught] == [__file__] * 3
