"""`roialign extract`: region features of the maps of a backbone, of pixels, or of feature maps."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console

from ..features.boxes import DETECTIONS
from . import extract_options as options
from . import feature_options as more
from .features import boxes_without_file, extract_features
from .help import add_command
from .pixels import Choice, pool_inputs
from .terminal import fails, with_options

EXAMPLES = """
# Features of the boxes in a file, for all photographs in a folder
roialign extract photos --boxes boxes.csv --backbone efficientnet-lite0 --out features

# A vector for each cell of a 3 x 4 grid of each image, with your own model
roialign extract photos --boxes grid:3x4 --backbone onnx:model.onnx --output-size vector

# A vector for each object that your own detector finds
roialign extract photos --boxes detections --backbone detector:run --output-size vector

# On all machines of a Ray cluster; run this on one of them
roialign extract photos --boxes grid:3x4 --backbone timm:resnet50 --device cuda --engine ray --out features

# Without a backbone: pool pixels into one file, and draw the steps
roialign extract examples/astronaut.png --boxes examples/astronaut_boxes.csv \\
    --sampling grid --sampling-ratio 2 --stride 8 --plot face.png
"""
#: The options that cannot be used with a backbone, and those that need one.
OF_PIXELS = (
    *("spatial_scale", "stride", "sampling", "sampling_ratio", "aligned", "seed", "layout", "array_name", "backend"),
    *("plot", "plot_box"),
)
OF_BACKBONES = (
    *("levels", "pool", "image_size", "batch_size", "readers", "threads", "device", "precision", "channels_last"),
    *("normalise", "prefix_tokens", "patch_size", "weights", "score_threshold", "dtype", "file_format"),
    *("shard_images", "part", "retry", "engine", "ray_address", "workers", "shard_retries"),
)
OF_RAY = ("ray_address", "workers", "shard_retries")
PIXELS_FILE, FEATURES_FOLDER = Path("features.npz"), Path("features")


def extract_command(
    context: typer.Context,
    inputs: options.Inputs,
    boxes: options.BoxFile,
    columns: options.ColumnNames = None,
    box_format: options.BoxFormat = None,
    ignore_missing: options.IgnoreMissing = False,
    strict: options.Strict = False,
    out: options.Out = None,
    output_size: options.OutputSize = "7",
    backbone: more.BackboneName = None,
    levels: more.Levels = "default",
    pool: more.Pool = "exact",
    image_size: more.ImageSize = None,
    batch_size: more.BatchSize = 8,
    readers: more.Readers = None,
    threads: more.Threads = None,
    device: more.Device = "cpu",
    precision: more.Precision = "float32",
    channels_last: more.ChannelsLast = False,
    normalise: more.Normalise = None,
    prefix_tokens: more.PrefixTokens = None,
    patch_size: more.PatchSize = None,
    weights: more.WeightsFile = None,
    score_threshold: more.ScoreThreshold = 0.5,
    dtype: more.Dtype = "float32",
    file_format: more.FileFormat = "parquet",
    shard_images: more.ShardImages = 1000,
    part: more.Part = "1/1",
    retry: more.Retry = False,
    engine: more.EngineName = "local",
    ray_address: more.RayAddress = None,
    workers: more.Workers = None,
    shard_retries: more.ShardRetries = 3,
    spatial_scale: options.SpatialScale = 1.0,
    stride: options.Stride = 1,
    sampling: options.Sampling = "exact",
    sampling_ratio: options.SamplingRatio = "0",
    aligned: options.Aligned = True,
    seed: options.Seed = None,
    layout: options.Layout = "NCHW",
    array_name: options.ArrayName = None,
    backend: options.Backend = "cpu",
    plot: options.Plot = None,
    plot_box: options.PlotBox = None,
) -> None:
    """Pool boxes of images or feature maps.

    With --backbone, the result is a folder of Parquet shards with one row per box: `image`, `row` (the index of the box
    in its file), `box`, `label`, `score` (for detections), `image_width`, `image_height`, `features` or `vector`, and
    `error`. An image that cannot be read gives a row with its error. If a run is stopped (by Ctrl-C or SIGTERM) or
    killed, rerun the same command to resume. The files do not depend on interruptions.

    Without --backbone, the result is one .npz file with `features`, `boxes`, `images`, `labels`, `rows` and `settings`.
    It is replaced only once it is complete.

    Inputs and rows that cannot be read are reported and skipped, and the exit code is 1. With --strict, they stop the
    run. A path on the command line that does not exist stops the run before anything is written. Suspicious boxes, such
    as inverted boxes or boxes outside their input, are pooled with a note.
    """
    refuse_options(context, backbone, boxes, engine)
    _check_inputs(inputs)
    reading = options.make_reading(columns, box_format)
    if backbone is None:
        settings = options.make_settings(
            output_size, spatial_scale, stride, sampling, sampling_ratio, aligned, seed, layout, array_name, backend
        )
        choice = Choice(plot, plot_box, ignore_missing, strict, seed)
        pool_inputs(inputs, boxes, reading, out or PIXELS_FILE, settings, choice)
        return
    try:
        job = more.JobSettings(
            backbone=backbone,
            sizes=more.sizes_of(output_size),
            rule=pool,
            levels=levels,
            dtype=dtype,
            batch_size=batch_size,
            file_format=file_format,
            shard_images=shard_images,
        )
    except ValueError as error:
        raise fails(Console(stderr=True), with_options(error, {"rule": "--pool", "levels": "--levels"})) from error
    of_backbone = more.BackboneOptions(
        more.image_size_of(image_size), normalise, weights, prefix_tokens, patch_size, device, precision, channels_last
    )
    work = more.Running(
        threads=threads,
        readers=readers,
        part=more.part_of(part),
        retry=retry,
        ignore_missing=ignore_missing,
        score_threshold=score_threshold,
        strict=strict,
        engine=engine,
        ray_address=ray_address,
        workers=workers,
        shard_retries=shard_retries,
    )
    extract_features(inputs, boxes, reading, out or FEATURES_FOLDER, job, of_backbone, work)


def refuse_options(context: typer.Context, backbone: str | None, boxes: Path, engine: str) -> None:
    """Raise an error for options that would have no effect."""
    refused = dict.fromkeys(
        *((OF_BACKBONES, "without --backbone") if backbone is None else (OF_PIXELS, "with --backbone"))
    )
    if engine != "ray":
        for name in OF_RAY:
            refused.setdefault(name, "without --engine ray")
    if str(boxes) != DETECTIONS:
        refused.setdefault("score_threshold", f"without --boxes {DETECTIONS}")
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if parameter.name in refused and source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(f"it cannot be used {refused[parameter.name]}", param_hint=parameter.opts[0])
    without_file = boxes_without_file(str(boxes), 0.0) is not None
    if backbone is None and without_file:
        raise typer.BadParameter(f"{boxes} needs --backbone", param_hint="--boxes")


def add_commands(app: typer.Typer) -> None:
    """Add the command to the command line."""
    groups = {"Options with --backbone": OF_BACKBONES, "Options without --backbone": OF_PIXELS}
    add_command(app, "extract", extract_command, EXAMPLES, groups)


def _check_inputs(inputs: Sequence[Path]) -> None:
    """Check that the paths on the command line exist, since a wrong one is a typing error. Those in lists may not."""
    wrong = []
    for path in inputs:
        try:
            os.lstat(path)
        except FileNotFoundError as error:
            why = str(error.strerror)
        except (OSError, ValueError):  # such as an invalid name: reading it will say why
            continue
        else:
            continue
        if str(path) == "-":
            why = "expected a path; images cannot be read from standard input"
        elif glob.has_magic(str(path)):
            why = "no such file; the shell expands patterns only without quotes"
        wrong.append(f"{path}: {why}")
    if wrong:
        raise fails(Console(stderr=True), "\n".join(wrong))
