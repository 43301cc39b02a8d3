"""Training of detectors: `roialign train`."""

from .loop import train
from .settings import RunError, TrainSettings, new_detector

__all__ = ["RunError", "TrainSettings", "new_detector", "train"]
