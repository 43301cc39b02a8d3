"""Training of detectors, used by `roialign train`."""

from .events import Cut, Event, Measured, Report, Saved, Started, Stepped
from .loop import train
from .settings import OtherSettingsError, RunError, TrainSettings, new_detector
from .validation import Validation

__all__ = [
    "Cut",
    "Event",
    "Measured",
    "OtherSettingsError",
    "Report",
    "RunError",
    "Saved",
    "Started",
    "Stepped",
    "TrainSettings",
    "Validation",
    "new_detector",
    "train",
]
