"""Jobs as a user starts them, in this process or in another that may be killed; and what a folder holds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from roialign.features import BackboneOptions, GridBoxes, Job, JobSettings, prepare

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
    return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
