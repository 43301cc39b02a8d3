"""What an installed wheel must do where there is nothing but NumPy; run by an interpreter that has it installed.

    python -I release/smoke.py

The compiled core against the reference, for one call of every kind of kernel. Prints what it has found as one line.
"""

from __future__ import annotations

import sys
import time

START = time.perf_counter()

import numpy as np  # noqa: E402 - the imports are timed

import roialign  # noqa: E402

#: What a difference between float32 and the reference's float64 may be, where values are about 1.
TOLERANCE = 2e-5


def one_roi() -> float:
    """Seconds from before the import to the first answer, which is checked by hand: a ramp's mean is its middle."""
    ramp = np.broadcast_to(np.arange(32, dtype=np.float32), (1, 3, 32, 32))
    pooled = roialign.roi_align(ramp, np.array([[0, 4.0, 4.0, 12.0, 12.0]]), 2, sampling="exact")
    seconds = time.perf_counter() - START
    expected = np.broadcast_to(np.array([5.5, 9.5], dtype=np.float32), (1, 3, 2, 2))  # bins of 4 pixels, from 3.5 on
    np.testing.assert_allclose(pooled, expected, atol=TOLERANCE)
    return seconds


def compare_with_reference() -> int:
    """Both families, forward and backward, every sampling, both layouts, and a map wide enough for whole vectors."""
    random = np.random.default_rng(7)
    features = random.standard_normal((2, 37, 24, 31)).astype(np.float32)
    boxes = np.array([[0, 1.5, 2.0, 20.0, 17.0], [1, 3.0, 3.0, 29.5, 22.0], [1, -4.0, 5.0, 6.0, 30.0]])
    rotated = np.array([[0, 12.0, 11.0, 9.0, 6.0, 30.0], [1, 15.0, 12.0, 20.0, 5.0, -75.0]])
    calls = [
        (roialign.roi_align, roialign.roi_align_backward, boxes, {"sampling": "exact"}),
        (roialign.roi_align, roialign.roi_align_backward, boxes, {"sampling": "grid", "sampling_ratio": 2}),
        (
            roialign.roi_align,
            roialign.roi_align_backward,
            boxes,
            {"sampling": "random", "sampling_ratio": 3, "seed": 5},
        ),
        (roialign.roi_align, roialign.roi_align_backward, boxes, {"mode": "max", "sampling_ratio": 2}),
        (roialign.prroi_pool, roialign.prroi_pool_backward, boxes, {}),
        (roialign.roi_pool, roialign.roi_pool_backward, boxes, {}),
        (roialign.roi_align_rotated, roialign.roi_align_rotated_backward, rotated, {"sampling_ratio": 2}),
    ]
    for forward, backward, rois, arguments in calls:
        pooled = forward(features, rois, 5, **arguments)
        _assert_close(pooled, forward(features, rois, 5, backend="reference", **arguments), forward.__name__)
        gradient = random.standard_normal(pooled.shape).astype(np.float32)
        found = backward(gradient, features, rois, **arguments)
        expected = backward(gradient, features, rois, backend="reference", **arguments)
        for one, other in zip(_as_tuple(found), _as_tuple(expected), strict=True):
            _assert_close(one, other, backward.__name__)
    return len(calls)


def _as_tuple(found: object) -> tuple[object, ...]:
    return found if isinstance(found, tuple) else (found,)


def _assert_close(found: object, expected: object, what: str) -> None:
    scale = max(1.0, float(np.abs(np.asarray(expected)).max()))
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * scale, err_msg=what)


def check_instruction_sets(info: dict[str, object]) -> None:
    """A core that takes the CPU for less than it is gives the right answers, many times slower."""
    if sys.platform != "linux" or "avx512" not in str(info["isa_built"]):
        return
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        flags = set(next((line for line in file if line.startswith("flags")), "").split())
    expected = ["baseline"]
    if {"avx2", "fma", "f16c"} <= flags:
        expected.append("avx2")
        if {"avx512f", "avx512bw", "avx512vl", "avx512dq"} <= flags:
            expected.append("avx512")
            if "avx512_bf16" in flags:
                expected.append("avx512_bf16")
    if info["isa_supported"] != expected:
        raise AssertionError(f"the CPU runs {expected}, the core says {info['isa_supported']}")


def main() -> None:
    seconds = one_roi()
    count = compare_with_reference()
    info = roialign.build_info()
    check_instruction_sets(info)
    if "torch" in sys.modules:
        raise AssertionError("`import roialign` has loaded torch")
    print(
        f"roialign {info['version']}, Python {info['python']}, NumPy {info['numpy']}: import and one RoI in "
        f"{seconds:.2f} s, {count} operators as the reference has them, {info['isa']} of {info['compiler']}"
    )


if __name__ == "__main__":
    main()
