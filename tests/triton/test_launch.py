"""Launching compiled kernels without the checks of Triton."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("triton")

import triton

from roialign.triton.launch import STREAM, Compiled, launcher_of


class Launcher:
    """What Triton 3.6 wraps around the compiled function of a kernel."""

    launch_cooperative_grid, launch_pdl, profile_scratch_size = False, True, 0

    def __init__(self, scratch: int) -> None:
        self.global_scratch_size = scratch
        self.launched: list[tuple[Any, ...]] = []

    def launch(self, *arguments: Any) -> None:
        self.launched.append(arguments)

    def __call__(self, x: int, y: int, z: int, stream: int, function: Any, *rest: Any) -> None:
        memory = "memory" if self.global_scratch_size else None
        options = self.launch_cooperative_grid, self.launch_pdl, memory, None
        self.launch(x, y, z, stream, function, *options, *rest)


@pytest.mark.parametrize(
    ("version", "scratch", "is_direct"), [("3.6.0", 0, True), ("3.6.0", 8, False), ("3.7.0", 0, False)]
)
def test_the_wrapper_is_left_out(version: str, scratch: int, is_direct: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it does nothing. The compiled function takes the same arguments in any case."""
    monkeypatch.setattr(triton, "__version__", version)
    launcher = Launcher(scratch)
    run, options = launcher_of(launcher, "metadata")
    assert (run == launcher.launch) == is_direct
    kernel = Compiled(run, "function", options, (64,))
    kernel.launch((3, 2, 1), 7, [1, 2])
    launcher(3, 2, 1, 7, "function", "metadata", None, None, None, 1, 2, 64)
    first, second = launcher.launched
    assert first == second
    assert kernel.arguments((3, 2, 1), 7, [1, 2])[STREAM] == 7
