"""Region features of many images: the feature maps of a backbone, pooled for every box and written to tables.

The steps are, in order: :mod:`.backbones` creates a backbone by name, with the interface of :mod:`.backbone`;
:mod:`.boxes` provides the boxes; :mod:`.shards` divides the images into shards; :mod:`.image_readers` are processes
that read images ahead with :mod:`.images`; :mod:`.engine` forms batches, runs the backbone and pools with
:mod:`.pooling`; :mod:`.writing` writes a shard, with a record of :mod:`.records`. :mod:`.job` combines these steps, and
:mod:`.manifest` ensures that a folder only contains the results of one job, and :mod:`.locks` that no two runs write
the same shard. :mod:`.shard_files` opens a shard in any format, and :mod:`.shard_reading` compares the columns that are
read with its record.
"""

from .backbone import Backbone, BackboneError, BackboneOptions, ImageSize, Normalisation
from .backbones import make_backbone
from .boxes import BoxSource, DetectedBoxes, FileBoxes, GridBoxes
from .engine import Listener, Report
from .job import Engine, Job, JobSettings, prepare, run
from .manifest import OtherJobError
from .ray_engine import RayEngine
from .ray_worker import WorkerError
from .tokens import tokens_to_map

__all__ = [
    "Backbone",
    "BackboneError",
    "BackboneOptions",
    "BoxSource",
    "DetectedBoxes",
    "Engine",
    "FileBoxes",
    "GridBoxes",
    "ImageSize",
    "Job",
    "JobSettings",
    "Listener",
    "Normalisation",
    "OtherJobError",
    "RayEngine",
    "Report",
    "WorkerError",
    "make_backbone",
    "prepare",
    "run",
    "tokens_to_map",
]
