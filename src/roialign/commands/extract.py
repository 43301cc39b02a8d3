"""`roialign extract`: region features, of the maps of a backbone or of pixels."""

from __future__ import annotations

from pathlib import Path

import typer

from ..features.boxes import DETECTIONS
from . import feature_options as more
from . import options
from .features import boxes_without_file, extract_features
from .help import add_command
from .pixels import Choice, pool_inputs

EXAMPLES = """
# Features of the boxes of a file, of all photographs of a folder, into a folder
roialign extract photos --boxes boxes.csv --backbone efficientnet-lite0 --out features

# A vector for each of 3 x 4 parts of each image; of the maps of a model of your own
roialign extract photos --boxes grid:3x4 --backbone onnx:model.onnx --output-size vector

# Vectors of what a detector of your own finds, of the maps that it found it on
roialign extract photos --boxes detections --backbone detector:run --output-size vector

# The same by all machines of a cluster of Ray, run on one of them
roialign extract photos --boxes grid:3x4 --backbone timm:resnet50 --device cuda --engine ray --out features

# Without a backbone: pixels, into one file; and a picture of how
roialign extract examples/astronaut.png --boxes examples/astronaut_boxes.csv \\
    --sampling grid --sampling-ratio 2 --stride 8 --plot face.png
"""
#: Options that mean nothing with a backbone, and those that mean nothing without.
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
    """Pool boxes of images or of feature maps.

    With --backbone the result is a folder of Parquet shards with a row per box: `image`, `row` (the box's place in its
    file, from 0), `box`, `label`, `score` of detections, `image_width`, `image_height`, `features` and `vector` as
    asked for, and `error`. A run that was killed goes on where it was, by the same command, and ends with the same
    bytes. An image that cannot be read is a row with its error.

    Without it the result is one .npz file: `features`, `boxes`, `images`, `labels`, `rows` and `settings`. It is
    replaced in one step, or not at all.

    What cannot be read is reported and the rest is done; the exit code is then 1. With --strict it ends the run:
    without a backbone nothing is written, with one the shards before it are. Boxes that look wrong, inverted or
    beside their input, are pooled as they are, with a note.
    """
    refuse_options(context, backbone, boxes, engine)
    reading = options.make_reading(columns, box_format)
    if backbone is None:
        settings = options.make_settings(
            output_size, spatial_scale, stride, sampling, sampling_ratio, aligned, seed, layout, array_name, backend
        )
        choice = Choice(plot, plot_box, ignore_missing, strict, seed)
        pool_inputs(inputs, boxes, reading, out or PIXELS_FILE, settings, choice)
        return
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
    """An option that would not be read is an error."""
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
            raise typer.BadParameter(f"it means nothing {refused[parameter.name]}", param_hint=parameter.opts[0])
    if backbone is None and boxes_without_file(str(boxes), 0.0) is not None:
        raise typer.BadParameter(f"{boxes} needs --backbone", param_hint="--boxes")


def add_commands(app: typer.Typer) -> None:
    """Make the command known to the command line."""
    groups = {"Options with --backbone": OF_BACKBONES, "Options without --backbone": OF_PIXELS}
    add_command(app, "extract", extract_command, EXAMPLES, groups)
