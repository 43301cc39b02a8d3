"""Two-stage detectors built on roialign. Install their dependencies with ``pip install '.[detection]'``."""

from . import _installed  # noqa: F401 - first, so that it says what is missing
from .backbone import FrozenBatchNorm2d, PyramidBackbone, SingleBackbone
from .coco import CocoDataset, DatasetError, DataWarning
from .evaluation import evaluate_model
from .exporting import Detections, ExportableDetector, export_onnx, export_program
from .model_files import ModelFileError, load_model, save_model
from .models import TwoStageDetector, build_detector, cascade_rcnn, faster_rcnn, mask_rcnn, oriented_rcnn
from .patch_data import PatchDataset, cut_into_patches
from .patch_detection import detect_in_patches
from .patches import PatchSettings
from .poolers import POOLERS, HullPooler, make_pooler
from .pyramid_pooling import MultiScaleDeformRoIPool, MultiScaleModulatedDeformRoIPool, MultiScaleRoIPool
from .roi_heads import RoISettings
from .rotated_data import RotatedDataset, open_split
from .rpn import ProposalSettings
from .scenes import SceneSettings, draw_scene, write_scenes
from .settings import DetectorSettings
from .timm_backbone import TimmBackbone
from .training import OtherSettingsError, RunError, TrainSettings, Validation, new_detector, train

__all__ = [
    "POOLERS",
    "CocoDataset",
    "DataWarning",
    "DatasetError",
    "Detections",
    "DetectorSettings",
    "ExportableDetector",
    "FrozenBatchNorm2d",
    "HullPooler",
    "ModelFileError",
    "MultiScaleDeformRoIPool",
    "MultiScaleModulatedDeformRoIPool",
    "MultiScaleRoIPool",
    "OtherSettingsError",
    "PatchDataset",
    "PatchSettings",
    "ProposalSettings",
    "PyramidBackbone",
    "RoISettings",
    "RotatedDataset",
    "RunError",
    "SceneSettings",
    "SingleBackbone",
    "TimmBackbone",
    "TrainSettings",
    "TwoStageDetector",
    "Validation",
    "build_detector",
    "cascade_rcnn",
    "cut_into_patches",
    "detect_in_patches",
    "draw_scene",
    "evaluate_model",
    "export_onnx",
    "export_program",
    "faster_rcnn",
    "load_model",
    "make_pooler",
    "mask_rcnn",
    "new_detector",
    "open_split",
    "oriented_rcnn",
    "save_model",
    "train",
    "write_scenes",
]
