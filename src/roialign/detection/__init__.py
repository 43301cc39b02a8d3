"""Two-stage detectors on roialign; `pip install 'roialign[detection]'` brings what they need."""

from .backbone import FrozenBatchNorm2d, PyramidBackbone, SingleBackbone
from .coco import CocoDataset, DatasetError
from .models import TwoStageDetector, build_detector, cascade_rcnn, faster_rcnn, mask_rcnn
from .poolers import POOLERS, make_pooler
from .roi_heads import RoISettings
from .rpn import ProposalSettings
from .scenes import SceneSettings, draw_scene, write_scenes

__all__ = [
    "POOLERS",
    "CocoDataset",
    "DatasetError",
    "FrozenBatchNorm2d",
    "ProposalSettings",
    "PyramidBackbone",
    "RoISettings",
    "SceneSettings",
    "SingleBackbone",
    "TwoStageDetector",
    "build_detector",
    "cascade_rcnn",
    "draw_scene",
    "faster_rcnn",
    "make_pooler",
    "mask_rcnn",
    "write_scenes",
]
