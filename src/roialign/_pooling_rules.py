"""Named pooling rules, and the arguments of :func:`roialign.roi_align` for each."""

from __future__ import annotations

from typing import Any

RULES: dict[str, dict[str, Any]] = {
    "exact": {"sampling": "exact"},
    "align": {"sampling_ratio": 2},
    "align-adaptive": {"sampling_ratio": 0},
    "align-unshifted": {"sampling_ratio": 2, "aligned": False},
    "max": {"sampling": "exact", "mode": "max"},
}
