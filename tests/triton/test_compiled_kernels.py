"""The kernels compiled for a GPU that is not there: what the interpreter cannot show, read off the machine code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from typing import Any

import pytest

from tests.tables.paths import ROOT

pytest.importorskip("triton")
pytestmark = pytest.mark.slow  # where Triton has nothing in its cache, every test compiles for seconds

OF_TILES = ("tiles", "shares", "sum_shares")


#: What one process of a script compiles: to load torch and Triton takes as long as a part of it.
TOGETHER = {
    "compiled_kernels": ("tables", "fp16 channels_last", "bf16 channels_last", "fp32 channels_last", "fp32 planes"),
    "compiled_point_kernels": ("tables", "forward", "adjoints"),
}


@cache
def outputs(script: str, parts: tuple[str, ...]) -> dict[str, list[dict[str, Any]]]:
    """What a script prints, by part."""
    environment, command = {**os.environ, "TRITON_INTERPRET": "0"}, [sys.executable, "-m", f"tests.triton.{script}"]
    run = subprocess.run([*command, *parts], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    found: dict[str, list[dict[str, Any]]] = {part: [] for part in parts}
    for line in run.stdout.splitlines():
        part, answer = json.loads(line)
        found[part].append(answer)
    return found


def compiled(part: str, script: str = "compiled_kernels") -> list[dict[str, Any]]:
    return outputs(script, TOGETHER.get(script, (part,)))[part]


def check(kernel: dict[str, Any]) -> None:
    assert kernel["ptx"]["atomics"] == 0
    assert kernel["ptx"]["TF32"] == 0
    assert kernel["ptx"]["narrow products"] == 0
    assert kernel["resources"]["STACK"] <= 8, "more than one register spills"


def test_tables_are_made_without_contraction() -> None:
    kernels = compiled("tables")
    assert len(kernels) == 8
    for kernel in kernels:
        check(kernel)
        assert kernel["ptx"]["float64 fused"] == 0
        assert kernel["ptx"]["float32 divisions"] == 0


@pytest.mark.parametrize("element", ["fp16", "bf16", "fp32"])
def test_channels_last_maps_are_read_16_bytes_at_a_time(element: str) -> None:
    kernels = {kernel["kernel"]: kernel for kernel in compiled(f"{element} channels_last")}
    for kernel in kernels.values():
        check(kernel)
    assert kernels["forward_kernel"]["ptx"]["16-byte loads"] > 0
    assert kernels["forward_kernel"]["ptx"]["16-byte stores"] > 0
    assert kernels["forward_kernel"]["ptx"]["shared memory"] == 0
    assert kernels["adjoint_boxes_kernel"]["ptx"]["16-byte loads"] > 0
    assert kernels["adjoint_features_kernel"]["ptx"]["16-byte stores"] > 0


def test_planar_maps() -> None:
    kernels = {kernel["kernel"]: kernel for kernel in compiled("fp32 planes")}
    for kernel in kernels.values():
        check(kernel)
    assert kernels["forward_kernel"]["ptx"]["shared memory"] == 0, "threads exchange columns by other means"
    for name in ("adjoint_features_kernel", "sum_shares_kernel"):
        channels, _, columns = kernels[name]["last store"]
        assert columns >= 8 > channels, "neighbouring threads write neighbouring pixels of a row"
    places, channels = kernels["forward_kernel"]["last store"]
    assert places == 32, "neighbouring threads write neighbouring bins"


@pytest.mark.parametrize(("part", "count"), [("tables", 3), ("forward", 10), ("adjoints", 10)])
def test_points(part: str, count: int) -> None:
    """Geometry is not contracted; but sines are, as CUDA's library has them, with a stack for angles of many turns."""
    kernels = compiled(part, script="compiled_point_kernels")
    assert len(kernels) == count
    for index, kernel in enumerate(kernels):
        turns = part == "tables" and index == 1
        assert kernel["ptx"]["atomics"] == kernel["ptx"]["TF32"] == 0
        assert (kernel["ptx"]["float64 fused"] > 0) == turns
        assert kernel["resources"]["STACK"] <= 80, "registers spill"


def test_other_numbers_of_points_compile_nothing_anew() -> None:
    (kinds,) = compiled("points", script="launched_kernels")
    twice = ("frames", "adjoint_points", "maximum", "tiles", "sum_shares")  # means and maxima, or two uses
    both = {f"{name}_kernel": 2 for name in twice}
    names = ("mean", "mean_sums", "winners_sums", "geometry", "order", "shares")
    assert kinds == {**{f"{name}_kernel": 1 for name in names}, **both}


def test_other_sizes_compile_nothing_anew() -> None:
    """Maps and RoIs have other sizes in every call of a training; only another kind of call is another kernel."""
    sizes, kinds = compiled("separable", script="launched_kernels")
    both = {"taps_kernel": 2}  # with derivatives and without
    names = ("forward", "adjoint_features", "adjoint_boxes", "order", "boxes", *OF_TILES)
    assert sizes == {**{f"{name}_kernel": 1 for name in names}, **both}
    assert kinds["forward_kernel"] == kinds["adjoint_features_kernel"] == kinds["adjoint_boxes_kernel"] == 2
    assert kinds["order_kernel"] == kinds["boxes_kernel"] == 1


def test_other_scales_compile_nothing_anew() -> None:
    """Each kernel that reads RoIs has one variant for each use, whatever the bits of the scales."""
    (variants,) = compiled("scales", script="launched_kernels")
    assert variants["taps_kernel"] == 2  # with derivatives and without
    assert variants["boxes_kernel"] == variants["frames_kernel"] == 1


def test_repeated_calls_are_replayed_and_compiled_kernels_launched_directly() -> None:
    """The script compares what is launched. Here: how many launches were none of a replay, and through Triton."""
    (counts,) = compiled("calls", script="replayed_calls")
    families = ("separable", "pointwise")
    in_parts = [f"parts of sums, {family}" for family in families]
    for name in (*families, "other alignment", "several parts", *in_parts):
        first, second, *replays = counts[name]
        for (launches, through), again in zip(first, second, strict=True):
            assert through <= launches
            assert again == [launches, 0], name
        assert not any(launches for call in replays for launches, _ in call), name
    for family, name, place in zip(families, in_parts, (1, 2), strict=True):  # the gradient of the features
        assert counts[name][0][place][0] > 2 * counts[family][0][place][0]
    forward, features, boxes = counts["rounded sums"][2]
    assert forward[0] == boxes[0] == 0
    assert features[0] > 0, "torch rounds the sums, which is not recorded"
    for calls in counts["other numbers"]:
        assert all(launches > 0 and through == 0 for launches, through in calls)
    for name in ("other dtype", "other alignment"):
        assert all(through > 0 for _, through in counts[name][0]), name
    assert all(launches == through > 0 for calls in counts["profiler"] for launches, through in calls)
    assert all(launches > 0 for calls in counts["converted tangents"] for launches, _ in calls), "not to be replayed"


def test_calls_that_come_again_are_not_checked_again() -> None:
    """The script compares what is launched. Here: how many calls were checked, and how many took the short way."""
    (counts,) = compiled("calls", script="repeated_calls")
    checked, short, neither = [1, 0], [0, 1], [0, 0]
    steps = [[checked, neither], [checked, neither], [short, neither], [short, short], [short, short]]
    for name in ("one level", "channels last", "pyramid", "levels", "two maps", "maxima", "forgotten"):
        assert counts[name] == steps, name
    assert counts["bytes of winners"] == 2 * 70 * 49 * 16 * 4, "one tensor for each step before the first replay"
    assert counts["backward"] == [short] * 5 + [checked, neither]
    same = {name for name, found in counts["other"].items() if found == short}
    assert same == {"the same", "the same maxima", "other levels"}
    assert all(found == checked for name, found in counts["other"].items() if name not in same)
    assert counts["kept"] == {"autocast": [checked] * 5, "reference": [checked] * 5, "hooks": neither}
    assert counts["errors"] == ["ValueError", "ValueError", "TypeError", "ValueError"]
    assert counts["replaced"] == ["roialign: expected in the backward pass the tensor of the forward pass"] * 4
