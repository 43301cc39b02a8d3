"""The canonical workloads on a CUDA device: ours beside torchvision's CUDA operator, torch's einsum and a device copy.

    python -m benchmarks.gpu [--workloads box-test,c4,points] [--json gpu.json]

"points" stands for the operators of the pointwise family (benchmarks/gpu_points.py), beside torchvision's.

Every call is captured in a CUDA graph over several sets of inputs, more than the L2 cache holds, and the medians are of
replays between events. A peer that cannot be captured, as torchvision's deterministic mode, runs between events itself.
Answers are checked against the reference of this run, ours in float64, before anything is timed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import roialign

from . import gpu_points
from .workloads import WORKLOADS, Workload, make_data

WANTED = (
    "box-test",
    "box-train",
    "mask-test",
    "mask-test-1000",
    "c4",
    "vit",
    "vit-small",
    "video",
    "hot-tile",
    "points",
)
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
REPEATS, WARM_UPS = 30, 5


@dataclass
class Row:
    """One cell of the table. Times are of one call."""

    workload: str
    what: str
    layout: str
    dtype: str
    points: int
    ours_us: float
    floor_us: float
    """The larger of two: every level read once and the answer written once, or the other way round, at the rate of a
    device copy; and every RoI's own pixels and bins, at the rate of a copy within the L2 cache."""
    peer: str
    peer_us: float | None
    extra_memory: float
    """What our call takes besides inputs and outputs, as a fraction of them."""


class Inputs:
    """A workload's tensors on the device, as often as it takes to be three times as large as the L2 cache."""

    def __init__(self, workload: Workload, dtype: torch.dtype, channels_last: bool) -> None:
        data = make_data(workload, gradient=True)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.scales = [level.scale for level in workload.levels]
        self.bins = workload.output_size

        def on_device(array: Any) -> Tensor:
            return torch.from_numpy(array).to("cuda", dtype).contiguous(memory_format=layout)

        maps, gradient = [on_device(level) for level in data.maps], on_device(data.grad_output)
        self.bytes = sum(tensor.numel() * tensor.element_size() for tensor in [*maps, gradient])
        self.sets = sets_of(self.bytes)
        self.maps = [maps, *([level.clone() for level in maps] for _ in range(self.sets - 1))]
        self.gradients = [gradient, *(gradient.clone() for _ in range(self.sets - 1))]
        self.footprint = footprint_of(data.rois, data.level_of_roi, workload) * maps[0].element_size() + gradient.nbytes
        self.rois = torch.from_numpy(data.rois).cuda()
        self.levels = torch.from_numpy(data.level_of_roi).cuda()
        #: What a per-level operator is given: the rows of each level, so that its calls do no work twice.
        self.rows = [(self.levels == level).nonzero()[:, 0] for level in range(len(maps))]


def footprint_of(rois: Any, level_of_roi: Any, workload: Workload) -> int:
    """How many numbers of the maps the RoIs touch, each RoI on its own."""
    scale, height, width = np.array([(level.scale, level.height, level.width) for level in workload.levels]).T
    sides = []
    for low, size in ((1, width[level_of_roi]), (2, height[level_of_roi])):
        ends = rois[:, [low, low + 2]] * scale[level_of_roi, None] - 0.5
        sides.append(np.clip(ends[:, 1] + 2, 0, size) - np.clip(ends[:, 0], 0, size))
    return int((sides[0] * sides[1]).sum() * workload.channels)


def sets_of(size: int) -> int:
    """How many sets of so many bytes are three times as large as the L2 cache, so that it does not flatter."""
    cache: int = torch.cuda.get_device_properties(0).L2_cache_size
    return max(2, min(64, -(-3 * cache // size)))


Call = Callable[[int], Any]


def ours(inputs: Inputs, points: int, backward: bool) -> Call:
    common: Any = {"spatial_scales": inputs.scales, "sampling_ratio": points, "levels": inputs.levels}

    def forward(index: int) -> Tensor:
        return roialign.multiscale_roi_align(inputs.maps[index], inputs.rois, inputs.bins, **common)

    def adjoint(index: int) -> Any:
        return roialign.multiscale_roi_align_backward(
            inputs.gradients[index], inputs.maps[index], inputs.rois, need=("features",), **common
        )[0]

    return adjoint if backward else forward


def torchvision_calls(inputs: Inputs, points: int, backward: bool) -> Call:
    """torchvision's operator on every level, on rows that are sorted out beforehand and answers left apart."""
    from torchvision.ops import roi_align

    rows = [inputs.rois[rows].to(inputs.maps[0][0].dtype) for rows in inputs.rows]
    used = [level for level, own in enumerate(rows) if len(own)]

    def forward(index: int) -> list[Tensor]:
        return [
            roi_align(inputs.maps[index][level], rows[level], inputs.bins, inputs.scales[level], points or -1, True)
            for level in used
        ]

    parts = [[gradient[inputs.rows[level]] for level in used] for gradient in inputs.gradients]

    def adjoint(index: int) -> Any:
        # The forward's graph is made outside of what is timed: `prepare` below.
        return torch.autograd.grad(graphs[index], [leaves[index][level] for level in used], parts[index], True)

    if not backward:
        return forward
    leaves = [[level.detach().requires_grad_() for level in maps] for maps in inputs.maps]
    graphs = []
    for index in range(inputs.sets):
        inputs.maps[index] = leaves[index]
        graphs.append(forward(index))
        inputs.maps[index] = [level.detach() for level in leaves[index]]
    return adjoint


def einsum_calls(inputs: Inputs, points: int, backward: bool) -> Call:
    """Dense matrices, made beforehand, and one contraction per image: for a workload of one level."""
    height, width = inputs.maps[0][0].shape[2:]
    matrices = []
    for image in range(len(inputs.maps[0][0])):
        boxes = inputs.rois[inputs.rois[:, 0] == image].cpu().double().numpy()
        axes = []
        for low, size, bins in ((2, height, inputs.bins[0]), (1, width, inputs.bins[1])):
            starts = boxes[:, low] * inputs.scales[0] - 0.5
            lengths = boxes[:, low + 2] * inputs.scales[0] - 0.5 - starts
            dense = [
                torch.from_numpy(roialign.taps(size, start, length, bins, points, "grid"))
                for start, length in zip(starts.tolist(), lengths.tolist(), strict=True)
            ]
            axes.append(torch.stack(dense).to(inputs.maps[0][0]))
        matrices.append((image, axes))

    def forward(index: int) -> list[Tensor]:
        maps = inputs.maps[index][0]
        return [torch.einsum("kiy,cyx,kjx->kcij", wy, maps[image], wx) for image, (wy, wx) in matrices]

    rows = [(inputs.rois[:, 0] == image).nonzero()[:, 0] for image, _ in matrices]

    def adjoint(index: int) -> list[Tensor]:
        gradient = inputs.gradients[index]
        return [
            torch.einsum("kiy,kcij,kjx->cyx", wy, gradient[own], wx)
            for (_, (wy, wx)), own in zip(matrices, rows, strict=True)
        ]

    return adjoint if backward else forward


def microseconds(call: Call, sets: int, captured: bool = True) -> float:
    """The median time of one call, over replays of a graph of one call per set of inputs, or over the calls."""

    def once() -> list[Any]:
        return [call(index) for index in range(sets)]  # all are kept, so that each is written to memory of its own

    run: Callable[[], Any] = once
    stream = torch.cuda.current_stream()
    for _ in range(2):
        once()
    stream.synchronize()
    if captured:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            once()
        run = graph.replay
    for _ in range(WARM_UPS):
        run()
    times = []
    for _ in range(REPEATS):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        run()
        end.record()
        end.synchronize()
        times.append(1e3 * begin.elapsed_time(end) / sets)
    return statistics.median(times)


class Rates(NamedTuple):
    """Bytes read and written per microsecond by copies: of a gigabyte, and of 4 MB again and again."""

    memory: float
    cache: float

    @classmethod
    def measured(cls) -> Rates:
        return cls(copy_rate(1 << 28, 1), copy_rate(1 << 20, 64))


def copy_rate(count: int, repeats: int) -> float:
    """Of so many float32 numbers, so many times in a row."""
    source = torch.rand(count, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.nbytes / microseconds(lambda _: target.copy_(source), repeats)


def extra_memory(call: Call, inputs: Any) -> float:
    """At the peak of a call, less its answer: as a fraction of inputs and outputs."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    answer = call(0)
    torch.cuda.synchronize()
    after = torch.cuda.memory_allocated()
    peak = torch.cuda.max_memory_allocated()
    del answer
    return (peak - max(after, before)) / inputs.bytes


def check(workload: Workload, points: int, backward: bool, dtype: torch.dtype, channels_last: bool) -> None:
    """A wrong answer gets no time: ours in this dtype beside ours in float64, which the tests hold to the reference."""
    inputs = Inputs(workload, dtype, channels_last)
    answer = ours(inputs, points, backward)(0)
    wide = Inputs(workload, torch.float64, False)
    wide.maps = [[level.double() for level in inputs.maps[0]]]
    wide.gradients = [inputs.gradients[0].double()]
    right = ours(wide, points, backward)(0)
    pairs = zip(answer, right, strict=True) if backward else [(answer, right)]
    for seen, wanted in pairs:
        error = float((seen.double() - wanted).norm() / wanted.norm().clamp(min=1e-30))
        limit = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}[dtype]
        if not error < limit:
            raise SystemExit(f"{workload.name}: a relative error of {error:.3g}, expected less than {limit:g}")


def measure(workload: Workload, rates: Rates, has_torchvision: bool) -> list[Row]:
    rows = []
    for points in (2, 0):
        for layout, name in [("NHWC", "fp16"), ("NHWC", "bf16"), ("NHWC", "fp32"), ("NCHW", "fp16"), ("NCHW", "fp32")]:
            for backward in (False, True):
                check(workload, points, backward, DTYPES[name], layout == "NHWC")
                inputs = Inputs(workload, DTYPES[name], layout == "NHWC")
                call = ours(inputs, points, backward)
                common = (workload.name, "backward" if backward else "forward", layout, name, points)
                floor = max(inputs.bytes / rates.memory, inputs.footprint / rates.cache)
                common_times = (microseconds(call, inputs.sets), floor)
                extra = extra_memory(call, inputs)
                peers: dict[str, Callable[[], float | None]] = {}
                if has_torchvision and name != "bf16":
                    peers["torchvision"] = lambda of=inputs, points=points, backward=backward: microseconds(  # type: ignore[misc]
                        torchvision_calls(of, points, backward), of.sets
                    )
                if len(inputs.scales) == 1:
                    peers["einsum"] = lambda of=inputs, points=points, backward=backward: microseconds(  # type: ignore[misc]
                        einsum_calls(of, points, backward), of.sets
                    )
                if has_torchvision and backward and name == "fp32":
                    peers["torchvision, deterministic"] = lambda given=inputs, points=points: deterministic(  # type: ignore[misc]
                        given, points
                    )
                for peer_name, time in (peers or {"none": lambda: None}).items():
                    rows.append(Row(*common, *common_times, peer_name, attempt(time), extra))
                    print(line(rows[-1]), flush=True)
    return rows


def deterministic(inputs: Inputs, points: int) -> float:
    """The backward of torchvision's deterministic mode, which runs in plain operators of torch."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        return microseconds(torchvision_calls(inputs, points, True), 1, captured=False)
    finally:
        torch.use_deterministic_algorithms(False)


def attempt(time: Callable[[], float | None]) -> float | None:
    """A peer that runs out of memory, or cannot do it, has no time."""
    try:
        return time()
    except (RuntimeError, NotImplementedError) as error:
        print(f"  not measured: {str(error).splitlines()[0]}", file=sys.stderr)
        torch.cuda.empty_cache()
        return None


def line(row: Row) -> str:
    peer = "-" if row.peer_us is None else f"{row.peer_us:.1f} ({row.peer_us / row.ours_us:.2f}x)"
    cells = [row.workload, row.what, row.layout, row.dtype, f"S{row.points}", f"{row.ours_us:.1f}"]
    cells += [f"{row.floor_us:.1f} ({row.ours_us / row.floor_us:.2f}x)", row.peer, peer, f"{row.extra_memory:.1%}"]
    return "| " + " | ".join(cells) + " |"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--workloads", default=",".join(WANTED), help="names, with commas")
    parser.add_argument("--json", type=Path, help="where to write all numbers")
    options = parser.parse_args()
    unknown = set(options.workloads.split(",")) - {*WORKLOADS, "points"}
    if unknown:
        parser.error(f"--workloads: expected names among {', '.join(WORKLOADS)}, got {', '.join(sorted(unknown))}")
    if not torch.cuda.is_available():
        print("benchmarks.gpu: torch sees no CUDA device here, so nothing was measured", file=sys.stderr)
        return 1
    try:
        import torchvision

        peer_version = f"torchvision {torchvision.__version__}"
    except ImportError:
        peer_version = "torchvision is not installed: not measured"
    # The derivatives of a call run on its stream, and one that is recorded may not be the default one: so all on one.
    with torch.cuda.stream(torch.cuda.Stream()):
        run(options.workloads.split(","), options.json, peer_version)
    return 0


def run(workloads: list[str], json_path: Path | None, peer_version: str) -> None:
    """Measure, print, and after every workload write all numbers so far."""
    import triton

    rates = Rates.measured()
    device = torch.cuda.get_device_name(0)
    copies = f"a device copy runs at {rates.memory / 1e3:.0f} GB/s, within the L2 cache at {rates.cache / 1e3:.0f} GB/s"
    print(f"Machine: {device}; {copies} (bytes read and written).")
    versions = f"Versions: roialign {roialign.__version__}, torch {torch.__version__}, triton {triton.__version__}, "
    print(versions + peer_version + "\n")
    print("| workload | what | layout | type | points | ours, us | floor, us | peer | its us | extra memory |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    rows: list[Row] = []
    for name in workloads:
        has_torchvision = not peer_version.endswith("measured")
        rows += (
            gpu_points.measure(rates.memory) if name == "points" else measure(WORKLOADS[name], rates, has_torchvision)
        )
        if json_path is not None:
            report = {"machine": device, "rows": [asdict(row) for row in rows]}
            json_path.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
