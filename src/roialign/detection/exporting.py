"""A whole detector as one program, without Python: a `torch.export` program, or an ONNX model of standard operators."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..extract.output import atomic_write
from ..torch.export import scans_to_loops
from .models import TwoStageDetector
from .transform import DIVISOR, normalise

#: Sides of the image that a program is recorded with: of no importance, but unlike each other.
EXAMPLE = (96, 128)


class Detections(NamedTuple):
    """What an exported detector answers, in rows of a number that is fixed, best first."""

    boxes: Tensor
    """``[D, 4]`` corners in pixels of the image."""
    scores: Tensor
    """``[D]``"""
    labels: Tensor
    """``[D]``, from 1."""
    valid: Tensor
    """``[D]``: which rows are detections."""
    masks: Tensor | None = None
    """``[D, M, M]`` probabilities within the boxes, of a model that has masks."""


# So that a saved program gives it by its name.
torch.utils._pytree._register_namedtuple(Detections, serialized_type_name="roialign.detection.Detections")


class ExportableDetector(nn.Module):
    """A detector of one image, in shapes that depend on the size of the image and on nothing else.

    Concretely, for an image of the size that the detector sees, the valid rows are what ``detector([image])`` gives.
    Its sides are above 64 pixels, so that the smallest map has more than one. It is not resized within: where its
    shorter side is not `min_size` of the detector, resize it before, and the boxes after.

    Examples
    --------
    >>> import torch
    >>> from roialign.detection import ExportableDetector, PyramidBackbone, faster_rcnn
    >>> model = faster_rcnn(3, backbone=PyramidBackbone(18, width=8, out_channels=16), min_size=64, hidden=32)
    >>> ExportableDetector(model)(torch.rand(1, 3, 64, 96)).boxes.shape
    torch.Size([100, 4])
    """

    def __init__(self, detector: TwoStageDetector) -> None:
        super().__init__()
        self.detector = detector.eval()

    def forward(self, image: Tensor) -> Detections:
        """The detections of a float image ``[1, 3, H, W]``, from 0 to 1."""
        parts = self.detector
        height, width = size = (image.shape[-2], image.shape[-1])
        batch = functional.pad(normalise(image), (0, -width % DIVISOR, 0, -height % DIVISOR))
        maps = parts.backbone(batch)
        pooled_maps = maps[: parts.backbone.pooled_levels]
        anchors = parts.rpn.anchors(maps, (batch.shape[-2], batch.shape[-1]))
        of_anchors, offsets = parts.rpn.head(maps)
        proposals, exist = parts.rpn.best_of(0, of_anchors, offsets, anchors, size)
        heads = parts.roi_heads
        ((boxes, scores),) = heads.moved(pooled_maps, [size], [proposals])
        found, valid = heads.best_of(boxes, torch.where(exist[:, None], scores, 0.0))
        masks = None
        if heads.mask_branch is not None:
            masks = heads.mask_logits(pooled_maps, [found["boxes"]], found["labels"]).sigmoid()
        return Detections(**found, valid=valid, masks=masks)


def export_program(detector: TwoStageDetector) -> torch.export.ExportedProgram:
    """The detector as a program of `torch.export`, for images of any height and width.

    A Python process runs it after `import roialign.detection`, which makes the operators known.
    """
    image, shapes = _example(detector)
    with torch.no_grad():
        return torch.export.export(ExportableDetector(detector), (image,), dynamic_shapes=shapes)


def save_program(detector: TwoStageDetector, path: str | Path) -> None:
    """Write :func:`export_program` to a file, for `torch.export.load`."""
    program = export_program(detector)
    with atomic_write(Path(path)) as file:
        torch.export.save(program, file)


def export_onnx(detector: TwoStageDetector, path: str | Path) -> None:
    """Write the detector as an ONNX model of standard operators, for images of any height and width.

    onnxruntime and OpenVINO run it. Its input is `image`; its outputs are `boxes`, `scores`, `labels`, `valid` and, of
    a model with masks, `masks`, as :class:`Detections` has them.

    Raises
    ------
    ModuleNotFoundError
        Where onnxscript, which torch's exporter needs, is not installed.
    """
    from .onnx_nms import TRANSLATION

    image, shapes = _example(detector)
    names = [name for name in Detections._fields if name != "masks" or detector.roi_heads.mask_branch is not None]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        program: Any = torch.onnx.export(
            ExportableDetector(detector),
            (image,),
            dynamic_shapes=shapes,
            dynamo=True,
            verbose=False,
            input_names=["image"],
            output_names=names,
            custom_translation_table=TRANSLATION,
        )
    model = program.model_proto
    scans_to_loops(model)
    with atomic_write(Path(path)) as file:
        file.write(model.SerializeToString())


def _example(detector: TwoStageDetector) -> tuple[Tensor, Any]:
    device = next(detector.parameters()).device
    side = torch.export.Dim.DYNAMIC
    return torch.rand(1, 3, *EXAMPLE, device=device), ({2: side, 3: side},)
