"""Region features of sets of images: maps of a backbone, pooled for every box, in files that a table reader takes.

In the order of the work: :mod:`.backbones` makes a backbone by its name (what one is says :mod:`.backbone`),
:mod:`.boxes` says where boxes come from, :mod:`.shards` cuts the images into shards, :mod:`.readers` are the processes
that read ahead with :mod:`.images`, :mod:`.engine` forms batches, runs the backbone and pools with :mod:`.pooling`,
:mod:`.writing` writes a shard. :mod:`.job` puts it together; :mod:`.manifest` sees that only the same job goes on in a
folder.
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
