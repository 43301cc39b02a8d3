"""The implementations to compare, ours and the peers, and what each supports."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace

from .cases import LAYOUTS, Case
from .operators import OPERATORS

OURS = "roialign"
OUR_WORKERS = ("ours", "ours_torch", "ours_torch_compiled", "ours_jax")
BASELINE = "roialign-baseline"


@dataclass(frozen=True)
class Peer:
    """An implementation that runs in its own process.

    Parameters
    ----------
    worker : the module of `benchmarks.workers` that runs it
    environment : the environment variable that names its Python interpreter; None for the current interpreter
    layouts : the supported layouts; "own" means that it chooses one itself
    outputs : whether the output goes to the same memory every time, or to fresh memory
    channels : the number of channels of its output, from the first; None for all
    workloads : the workloads that it runs; None for all
    operators : the operators that it implements in our convention
    """

    name: str
    worker: str
    summary: str
    environment: str | None = None
    layouts: tuple[str, ...] = ("NCHW",)
    dtypes: tuple[str, ...] = ("float32",)
    samplings: tuple[str, ...] = ("S2", "S0")
    directions: tuple[str, ...] = ("forward",)
    outputs: tuple[str, ...] = ("reused",)
    channels: int | None = None
    workloads: tuple[str, ...] | None = None
    operators: tuple[str, ...] = ("mean",)

    @property
    def is_ours(self) -> bool:
        """Whether it is roialign, for any kind of array."""
        return self.worker in OUR_WORKERS

    def python(self) -> str | None:
        """Return the interpreter to run it with, or None if none is named."""
        return sys.executable if self.environment is None else os.environ.get(self.environment)


@dataclass(frozen=True)
class Entry:
    """An implementation with one case, to be timed."""

    peer: str
    case: Case
    output: str


OURS_PEER = Peer(
    OURS,
    "ours",
    "this library",
    layouts=LAYOUTS,
    dtypes=("float32", "float16", "bfloat16"),
    samplings=("S2", "S0", "exact"),
    directions=("forward", "backward-features", "backward-boxes"),
    outputs=("reused", "fresh"),
    operators=("mean", *OPERATORS),
)

PEERS = {
    peer.name: peer
    for peer in (
        OURS_PEER,
        replace(
            OURS_PEER,
            name="roialign-torch",
            worker="ours_torch",
            summary="this library on tensors, in eager mode",
            operators=("mean",),
        ),
        replace(
            OURS_PEER,
            name="roialign-torch-compiled",
            worker="ours_torch_compiled",
            summary="the same under torch.compile",
            dtypes=("float32",),
            samplings=("S2",),
            directions=("forward",),
            outputs=("fresh",),
            workloads=("one-roi", "ten-rois", "between"),
            operators=("mean",),
        ),
        replace(
            OURS_PEER,
            name="roialign-jax",
            worker="ours_jax",
            summary="this library on JAX arrays, compiled by jax.jit",
            outputs=("fresh",),
            operators=("mean",),
        ),
        Peer(
            "jax-gather",
            "jax_gather",
            "RoIAlign written in JAX: the neighbours of every sample point are gathered",
            samplings=("S2",),
            directions=("forward", "backward-features"),
            outputs=("fresh",),
        ),
        Peer(
            "onnxruntime",
            "onnx_runtime",
            "RoiAlign, opset 16, and MaxRoiPool; the answer in bound memory",
            operators=("mean", "onnx-max", "roi-pool"),
        ),
        Peer(
            "openvino", "openvino_plain", "ROIAlign and ROIAlignRotated on planar maps", operators=("mean", "rotated")
        ),
        Peer(
            "openvino-between",
            "openvino_between",
            "ROIAlign between two convolutions, in the layout that they choose: the time of its node alone",
            layouts=("own",),
            dtypes=("float32", "bfloat16"),
            channels=8,
        ),
        Peer(
            "torchvision",
            "torchvision_operators",
            "torchvision.ops: roi_align, roi_pool, ps_roi_align, ps_roi_pool",
            environment="ROIALIGN_BENCH_TORCHVISION",
            operators=("mean", "position-sensitive", "position-sensitive-pool", "roi-pool"),
            directions=("forward", "backward-features"),
            outputs=("fresh",),
        ),
        Peer(
            "intel-extension",
            "intel_extension",
            "intel-extension-for-pytorch, channels last",
            environment="ROIALIGN_BENCH_INTEL_EXTENSION",
            layouts=("NHWC",),
            dtypes=("float32", "bfloat16"),
            directions=("forward", "backward-features"),
            outputs=("fresh",),
        ),
        replace(
            OURS_PEER,
            name=BASELINE,
            summary="another build of this library, to compare with",
            environment="ROIALIGN_BENCH_BASELINE",
            outputs=("reused",),
        ),
    )
}

#: Workloads that peers cannot run, with the reason.
TOO_MUCH = {"huge-box": "peers visit every one of its 4e7 sample points in every channel, or fail to allocate them"}


def entries_of(cases: Iterable[Case], peer: Peer) -> list[Entry]:
    """Return what to time for an implementation on these cases, without duplicates."""
    is_ours = peer.is_ours
    entries = []
    for case in cases:
        if peer.workloads is not None and case.workload not in peer.workloads:
            continue
        able = case.dtype in peer.dtypes and case.sampling in peer.samplings and case.direction in peer.directions
        able = able and case.operator in peer.operators
        if not able or (case.workload in TOO_MUCH and not is_ours):
            continue
        layout = case.layout if is_ours else peer.layouts[0]
        outputs = peer.outputs if case.direction == "forward" else ("fresh",)
        entries += [Entry(peer.name, replace(case, layout=layout), output) for output in outputs]
    return list(dict.fromkeys(entries))


def choose_peers(names: Iterable[str]) -> list[Peer]:
    """Return ours and the named peers, or all peers if none is named."""
    wanted = list(names)
    unknown = [name for name in wanted if name not in PEERS]
    if unknown:
        raise ValueError(f"peer: expected one of {', '.join(PEERS)}, got {', '.join(unknown)}")
    if not wanted:  # include the baseline only if its environment is named
        wanted = [name for name, peer in PEERS.items() if name != BASELINE or peer.python() is not None]
    return [peer for name, peer in PEERS.items() if name == OURS or name in wanted]
