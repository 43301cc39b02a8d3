"""Two-stage detectors on roialign; `pip install 'roialign[detection]'` brings what they need."""

from .coco import CocoDataset, DatasetError
from .scenes import SceneSettings, draw_scene, write_scenes

__all__ = ["CocoDataset", "DatasetError", "SceneSettings", "draw_scene", "write_scenes"]
