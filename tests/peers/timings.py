"""What `install` saves, printed: torchvision's operator by its own kernels and by ours, on the usual pyramids."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch
import torchvision
from torch import Tensor

from roialign.compat.torchvision import MultiScaleRoIAlign, installed

SIZES = [(200, 336), (100, 168), (50, 84), (25, 42)]
IMAGE = (800, 1333)


def pyramid_and_boxes(count: int) -> tuple[dict[str, Tensor], list[Tensor]]:
    """P2 to P5 of 256 channels, and boxes of 16 to 600 px (log-uniform), aspect 1/2 to 2, anywhere in the image."""
    generator = torch.Generator().manual_seed(0)
    maps = {str(level): torch.randn(1, 256, *size, generator=generator) for level, size in enumerate(SIZES)}
    side, aspect, x, y = torch.rand(4, count, generator=generator)
    side, aspect = 16 * (600 / 16) ** side, (4**aspect / 2) ** 0.5
    width, height = (side * aspect).clamp(max=IMAGE[1]), (side / aspect).clamp(max=IMAGE[0])
    x, y = x * (IMAGE[1] - width), y * (IMAGE[0] - height)
    return maps, [torch.stack([x, y, x + width, y + height], 1)]


def measured(runs: dict[str, Callable[[], None]], repeats: int = 5) -> dict[str, float]:
    """The median of each in ms, runs interleaved, after one of each."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if repeat:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: median(values) for name, values in times.items()}


def row(count: int, size: int, ratio: int, backward: bool) -> dict[str, float]:
    """torchvision's module by its kernels, the same with ours installed, and our module."""
    maps, boxes = pyramid_and_boxes(count)
    for level in maps.values():
        level.requires_grad_(backward)
    theirs = torchvision.ops.MultiScaleRoIAlign(list(maps), size, ratio)
    ours = MultiScaleRoIAlign(list(maps), size, ratio)

    def run(module: torch.nn.Module) -> None:
        with torch.set_grad_enabled(backward):
            pooled = module(maps, boxes, [IMAGE])
            if backward:
                torch.autograd.grad(pooled, list(maps.values()), torch.ones_like(pooled))

    def run_installed() -> None:
        with installed():
            run(theirs)

    return measured({"theirs": lambda: run(theirs), "installed": run_installed, "ours": lambda: run(ours)})


def main() -> None:
    """Print the table."""
    print(f"torchvision {torchvision.__version__}, torch {torch.__version__}, {torch.get_num_threads()} threads; ms")
    print(f"{'256 channels, P2 to P5, float32, NCHW':52}{'theirs':>9}{'installed':>11}{'our module':>12}{'ratio':>8}")
    for count, size, ratio, backward in (
        (1000, 7, 2, False),
        (1000, 7, 0, False),
        (100, 14, 2, False),
        (512, 7, 2, True),
        (512, 7, 0, True),
    ):
        times = row(count, size, ratio, backward)
        name = f"{count} boxes, {size} x {size}, ratio {ratio}, forward{' + backward' if backward else ''}"
        gain = times["theirs"] / times["installed"]
        print(f"{name:52}{times['theirs']:9.1f}{times['installed']:11.1f}{times['ours']:12.1f}{gain:7.1f}x")


if __name__ == "__main__":
    main()
