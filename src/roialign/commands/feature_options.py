"""The options of `roialign extract --backbone`, and what they make."""

from __future__ import annotations

import os
import re
from typing import Annotated, Literal, NamedTuple

import typer

from .. import _validate
from .._pooling_rules import RULES
from ..features.backbone import NORMALISATIONS
from ..features.backbone import BackboneOptions as BackboneOptions
from ..features.backbones import BACKBONES
from ..features.job import JobSettings as JobSettings
from ..features.pooling import ROI_POOL
from .options import pair

#: How a size of one bin is written.
VECTOR = "vector"

BackboneName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help=f"Backbone whose maps are pooled, in place of pixels: "
        f"{', '.join(written for written, _ in BACKBONES.values())}.",
        show_default=False,
    ),
]
Levels = Annotated[
    str,
    typer.Option(
        metavar="LEVELS",
        help="Maps to pool from: last; strides, as 16 or 8,16, their channels one after the other; all; or by-size, "
        "one for each box. By default last, of a detector by-size.",
        show_default=False,
    ),
]
Pool = Annotated[
    str, typer.Option("--pool", metavar="RULE", help=f"Pooling of a box: {', '.join((*RULES, ROI_POOL))}.")
]
ImageSize = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Pixels of an image's shorter side, or HEIGHTxWIDTH; by default that of the backbone.",
        show_default=False,
    ),
]
BatchSize = Annotated[int, typer.Option(min=1, metavar="N", help="Images of one size that the backbone gets together.")]
Readers = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        help="Processes that read images ahead; by default one for every two cores, and none for a few images. 0 reads "
        "in the main process.",
        show_default=False,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=1024,
        metavar="N",
        help="Threads of the backbone; by default one for each core, or those that the job was begun with.",
        show_default=False,
    ),
]
Device = Annotated[str, typer.Option(metavar="NAME", help="Device to run on: cpu, cuda, or cuda:1 for the second GPU.")]
Precision = Annotated[
    Literal["float32", "float16", "bfloat16"],
    typer.Option(help="Precision of a backbone of torch; below float32 it is mixed."),
]
ChannelsLast = Annotated[
    bool, typer.Option("--channels-last", help="Keep channels last in memory; for a backbone of torch.")
]
Normalise = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help=f"Normalisation of pixels from 0 to 255: {', '.join(NORMALISATIONS)}; or R,G,B/R,G,B, a mean and a "
        "deviation. By default that of the backbone, and imagenet for files.",
        show_default=False,
    ),
]
PrefixTokens = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        help="Tokens of a transformer that come before those of its patches, such as class and register tokens.",
        show_default=False,
    ),
]
PatchSize = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Side of a transformer's patch in pixels.", show_default=False),
]
WeightsFile = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="FILE",
        help="Weights for timm: or hf: in place of their own; none leaves them random.",
        show_default=False,
    ),
]
Dtype = Annotated[Literal["float32", "float16"], typer.Option(help="Type of the features that are written.")]
FileFormat = Annotated[Literal["parquet", "safetensors", "npz"], typer.Option("--format", help="Format of the shards.")]
ScoreThreshold = Annotated[
    float,
    typer.Option(min=0.0, max=1.0, metavar="SCORE", help="Lowest score of a detection, for --boxes detections."),
]
ShardImages = Annotated[
    int, typer.Option(min=1, metavar="N", help="Most images in a shard; it has at most 64 MiB of features too.")
]
Part = Annotated[
    str,
    typer.Option(metavar="I/N", help="Do only every N-th shard, from the I-th: several machines share a job's folder."),
]
EngineName = Annotated[
    Literal["local", "ray"],
    typer.Option("--engine", help="Where the shards are done: in this process, or by the workers of a cluster of Ray."),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Cluster: HOST:PORT, auto, or local for a Ray on this machine alone. By default RAY_ADDRESS, then the "
        "cluster of which this machine is a part, then local.",
        show_default=False,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Workers at a time; by default as many as the cluster has room for, one for each GPU or for every "
        "--threads CPUs.",
        show_default=False,
    ),
]
ShardRetries = Annotated[
    int, typer.Option(min=0, metavar="N", help="Times that a shard is done again whose worker was lost.")
]
Retry = Annotated[bool, typer.Option("--retry", help="Redo the shards in which an image failed.")]


class Running(NamedTuple):
    """How a job is run: none of it decides its result."""

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
    """``7``, ``7x5``, ``vector``, or several of them with commas between."""
    words = [word.strip() for word in text.split(",")]
    try:
        return tuple(
            (1, 1) if word == VECTOR else _validate.check_output_size(pair(word, "--output-size"), "--output-size")
            for word in words
        )
    except (TypeError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error


def image_size_of(text: str | None) -> int | tuple[int, int] | None:
    """``320``, or ``224x320`` as (height, width)."""
    if text is None:
        return None
    if not re.fullmatch(r"[1-9]\d{0,4}(x[1-9]\d{0,4})?", text):
        raise typer.BadParameter(f"expected pixels, or HEIGHTxWIDTH, found {text!r}", param_hint="--image-size")
    height, _, width = text.partition("x")
    return (int(height), int(width)) if width else int(height)


def part_of(text: str) -> tuple[int, int]:
    """``2/4`` as (2, 4)."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    number, count = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= count:
        raise typer.BadParameter(f"expected I/N with I from 1 to N, found {text!r}", param_hint="--part")
    return number, count


def cores() -> int:
    """The processors that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
