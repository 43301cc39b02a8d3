"""Jobs as a user starts them, in this process or in another that may be killed; and what a folder holds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pyarrow import parquet
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from roialign.features import BackboneOptions, GridBoxes, Job, JobSettings, prepare
from tests.tables.signals import hear_interrupt

SMALL = BackboneOptions(image_size=96, threads=1)


def small_job(images: Sequence[Path], out: Path, **settings: object) -> Job:
    """Vectors of a grid of each image, of small images, in shards of four."""
    chosen = {"sizes": ((1, 1),), "levels": "16", "shard_images": 4, "batch_size": 3, **settings}
    return prepare(images, GridBoxes(2, 2), out, JobSettings(**chosen), SMALL)  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, hidden ones too."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def start(*arguments: object) -> subprocess.Popen[str]:
    """`roialign extract` in a process of its own."""
    program = [sys.executable, "-m", "roialign", "extract", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        program,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=None if sys.platform == "win32" else hear_interrupt,
    )


def forget_records(folder: Path) -> None:
    """Turn a folder into one of version 1, whose shards have no record, as the first versions wrote it."""
    manifest = json.loads((folder / "_manifest.json").read_text())
    (folder / "_manifest.json").write_text(json.dumps({**manifest, "version": 1}))
    for shard in folder.glob("features-*"):
        forget_record(shard)


def forget_record(shard: Path) -> None:
    """Write a shard again, without its record."""
    if shard.suffix == ".npz":
        with np.load(shard) as arrays:
            kept = {name: arrays[name] for name in arrays.files if name != "roialign"}
        np.savez(shard, **kept)
    elif shard.suffix == ".safetensors":
        with safe_open(shard, "np") as opened:
            entry = json.loads(opened.metadata()["roialign"])
        kept = {name: entry[name] for name in ("images", "labels", "errors")}
        save_file(load_file(shard), shard, {"roialign": json.dumps(kept)})
    else:
        table = parquet.read_table(shard, partitioning=None)
        shapes = json.loads(table.schema.metadata[b"roialign"])["shapes"]
        parquet.write_table(table.replace_schema_metadata({"roialign": json.dumps({"shapes": shapes})}), shard)
