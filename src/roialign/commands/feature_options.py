"""The options of `roialign extract --backbone`."""

from __future__ import annotations

import os
import re
from typing import Annotated, Literal, NamedTuple

import typer

from .. import _validate
from ..features.backbone import NORMALISATIONS
from ..features.backbone import BackboneOptions as BackboneOptions
from ..features.backbones import BACKBONES
from ..features.checks import check_sizes
from ..features.job import JobSettings as JobSettings
from ..features.pooling import ALL_RULES
from .extract_options import pair

#: The name of an output size of one bin.
VECTOR = "vector"

BackboneName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help=f"Backbone that computes the feature maps: {', '.join(written for written, _ in BACKBONES.values())}.",
        show_default=False,
    ),
]
Levels = Annotated[
    str,
    typer.Option(
        metavar="LEVELS",
        help="Levels to pool from: last, all, strides such as 16 or 8,16, or by-size, which assigns each box to one "
        "level. Channels of several levels are concatenated. Default: last, or by-size for detectors.",
        show_default=False,
    ),
]
Pool = Annotated[str, typer.Option("--pool", metavar="RULE", help=f"Pooling rule: {', '.join(ALL_RULES)}.")]
ImageSize = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Shorter side of the resized images in pixels, or HEIGHTxWIDTH. Default: that of the backbone.",
        show_default=False,
    ),
]
BatchSize = Annotated[
    int, typer.Option(min=1, metavar="N", help="Largest number of images per batch. A batch has images of one size.")
]
Readers = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        help="Number of processes that read images. 0 reads in the main process. Default: half the number of cores, or "
        "0 for a few images; with --engine ray, half the threads of each worker.",
        show_default=False,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=1024,
        metavar="N",
        help="Number of threads of the backbone. Default: the number with which the job was started, or else one per "
        "core; with --engine ray, as many as the smallest machine has for each worker.",
        show_default=False,
    ),
]
Device = Annotated[str, typer.Option(metavar="NAME", help="Device to run on: cpu, cuda, or cuda:1 for the second GPU.")]
Precision = Annotated[
    Literal["float32", "float16", "bfloat16"],
    typer.Option(help="Precision of PyTorch backbones. float16 and bfloat16 use automatic mixed precision."),
]
ChannelsLast = Annotated[
    bool, typer.Option("--channels-last", help="Use the channels-last memory format. For PyTorch backbones.")
]
Normalise = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help=f"Normalisation of pixels: {', '.join(NORMALISATIONS)}, or R,G,B/R,G,B, the mean and the standard "
        "deviation of pixels from 0 to 255. Default: that of the backbone, or imagenet for files.",
        show_default=False,
    ),
]
PrefixTokens = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        help="Number of tokens before the patch tokens of a transformer, such as class and register tokens.",
        show_default=False,
    ),
]
PatchSize = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="Patch size of a transformer in pixels. Images are not cut.", show_default=False
    ),
]
WeightsFile = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="FILE",
        help="File of weights for timm: or hf: models instead of their own, or none for random weights.",
        show_default=False,
    ),
]
Dtype = Annotated[Literal["float32", "float16"], typer.Option(help="Data type of the written features.")]
FileFormat = Annotated[Literal["parquet", "safetensors", "npz"], typer.Option("--format", help="Format of the shards.")]
ScoreThreshold = Annotated[
    float,
    typer.Option(min=0.0, max=1.0, metavar="SCORE", help="Minimum score of a detection, for --boxes detections."),
]
ShardImages = Annotated[
    int,
    typer.Option(
        min=1,
        metavar="N",
        help="Maximum number of images per shard. A shard also has at most about 64 MiB of features.",
    ),
]
Part = Annotated[
    str,
    typer.Option(metavar="I/N", help="Process only every N-th shard, from the I-th, to share a job among machines."),
]
EngineName = Annotated[
    Literal["local", "ray"],
    typer.Option("--engine", help="Process shards in this process (local), or with the workers of a Ray cluster."),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Address of the Ray cluster: HOST:PORT, auto, or local to start Ray on this machine only. Default: "
        "RAY_ADDRESS, or else the cluster of this machine, or else local.",
        show_default=False,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Number of workers. Default: as many as fit on the cluster, one per GPU or per --threads CPUs.",
        show_default=False,
    ),
]
ShardRetries = Annotated[
    int, typer.Option(min=0, metavar="N", help="Number of times to retry a shard whose worker was lost.")
]
Retry = Annotated[bool, typer.Option("--retry", help="Redo shards in which an image failed.")]


class Running(NamedTuple):
    """The options that do not affect the result of a job."""

    threads: int | None
    readers: int | None
    part: tuple[int, int]
    retry: bool
    ignore_missing: bool
    score_threshold: float
    strict: bool
    engine: str
    ray_address: str | None
    workers: int | None
    shard_retries: int


def sizes_of(text: str) -> tuple[tuple[int, int], ...]:
    """Parse ``7``, ``7x5``, ``vector``, or several of them separated by commas."""
    name, words = "--output-size", [word.strip() for word in text.split(",")]
    try:
        pairs = [(1, 1) if word == VECTOR else _validate.check_pair(pair(word, name), name, 1) for word in words]
        return check_sizes(pairs, name)
    except (TypeError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error


def image_size_of(text: str | None) -> int | tuple[int, int] | None:
    """Parse ``320``, or ``224x320`` as (height, width)."""
    if text is None:
        return None
    if not re.fullmatch(r"[1-9]\d{0,4}(x[1-9]\d{0,4})?", text):
        raise typer.BadParameter(f"expected pixels, or HEIGHTxWIDTH, got {text!r}", param_hint="--image-size")
    height, _, width = text.partition("x")
    return (int(height), int(width)) if width else int(height)


def part_of(text: str) -> tuple[int, int]:
    """Parse ``2/4`` as (2, 4)."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    number, count = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= count:
        raise typer.BadParameter(f"expected I/N with I from 1 to N, got {text!r}", param_hint="--part")
    return number, count


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
