"""Export a whole detector as a `torch.export` program, or as an ONNX model of standard operators."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from .._validate import check_path
from ..files.writing import atomic_write
from ..torch.export import scans_to_loops
from .box_kinds import ROTATED
from .model_inputs import check_detector, check_image, maps_of
from .models import TwoStageDetector
from .transform import DIVISOR, normalise

#: The size of the image that a program is recorded with. It is arbitrary, but the two sides must differ.
EXAMPLE = (96, 128)


class Detections(NamedTuple):
    """The result of an exported detector: a fixed number D of rows, best first."""

    boxes: Tensor
    """``[D, 4]`` boxes (x1, y1, x2, y2) in pixels of the image."""
    scores: Tensor
    """``[D]``: the score of each detection."""
    labels: Tensor
    """``[D]``: the labels, from 1."""
    valid: Tensor
    """``[D]``: whether each row is a detection. The other rows are padding."""
    masks: Tensor | None = None
    """``[D, M, M]``: mask probabilities within the boxes, if the model has masks."""
    rotated_boxes: Tensor | None = None
    """``[D, 5]``: the rotated boxes, if the model finds them. `boxes` are their upright hulls."""


# So that a saved program returns it as a named tuple.
torch.utils._pytree._register_namedtuple(Detections, serialized_type_name="roialign.detection.Detections")


class ExportableDetector(nn.Module):
    """A detector for one image, with shapes that depend on the size of the image only.

    Concretely, for an image of the size that the detector works on, the valid rows are those of ``detector([image])``.
    Both sides of the image must be longer than 64 pixels, so that the smallest map has more than one pixel. The module
    does not resize. If the shorter side is not the `min_size` of the detector, resize the image before the call and the
    boxes after it.

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
        check_detector(detector, "detector")
        self.detector = detector.eval()

    def forward(self, image: Tensor) -> Detections:
        """Return the detections in a float image ``[1, 3, H, W]`` with values from 0 to 1."""
        check_image(image, "image")
        parts = self.detector
        parts.warn_of_range({"image": image})
        height, width = size = (image.shape[-2], image.shape[-1])
        batch = functional.pad(normalise(image), (0, -width % DIVISOR, 0, -height % DIVISOR))
        maps = maps_of(parts.backbone, batch)
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
    """Export the detector with `torch.export`, for images of any height and width.

    To run the program in Python, first ``import roialign.detection``, which registers the operators.

    Parameters
    ----------
    detector : TwoStageDetector
        The detector. It is put in evaluation mode.

    Returns
    -------
    torch.export.ExportedProgram
        A program from a float image ``[1, 3, H, W]`` with values from 0 to 1, whose sides are longer than 64 pixels, to
        `Detections`; see :class:`ExportableDetector`.

    Raises
    ------
    TypeError
        If `detector` is something else.

    Examples
    --------
    >>> import torch
    >>> from roialign.detection import PyramidBackbone, export_program, faster_rcnn
    >>> model = faster_rcnn(3, backbone=PyramidBackbone(18, width=8, out_channels=16), min_size=96, hidden=32)
    >>> program = export_program(model)
    >>> program.module()(torch.rand(1, 3, 96, 130)).boxes.shape
    torch.Size([100, 4])
    """
    exportable = ExportableDetector(detector)
    image, shapes = _example(detector)
    with torch.no_grad():
        return torch.export.export(exportable, (image,), dynamic_shapes=shapes)


def save_program(detector: TwoStageDetector, path: str | Path) -> None:
    """Save the result of :func:`export_program` to a file for `torch.export.load`."""
    path = check_path(path, "path")
    program = export_program(detector)
    with atomic_write(path) as file:
        torch.export.save(program, file)


def export_onnx(detector: TwoStageDetector, path: str | Path) -> None:
    """Write the detector as an ONNX model of standard operators, for images of any height and width.

    onnxruntime and OpenVINO can run it. The input is `image`. The outputs are those of :class:`Detections`: `boxes`,
    `scores`, `labels`, `valid` and, if the model has masks, `masks`.

    Parameters
    ----------
    detector : TwoStageDetector
        The detector. It is put in evaluation mode.
    path : path
        The file to write. It is replaced atomically.

    Raises
    ------
    ModuleNotFoundError
        If onnxscript, which torch's exporter needs, is not installed.
    TypeError
        If an argument is something else.
    ValueError
        If the detector finds rotated boxes. ONNX has no operator for their non-maximum suppression.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import torch
    >>> from roialign.detection import PyramidBackbone, export_onnx, faster_rcnn
    >>> model = faster_rcnn(3, backbone=PyramidBackbone(18, width=8, out_channels=16), min_size=96, hidden=32)
    >>> path = Path(tempfile.mkdtemp()) / "model.onnx"
    >>> export_onnx(model, path)  # doctest: +SKIP
    >>> import onnxruntime  # doctest: +SKIP
    >>> session = onnxruntime.InferenceSession(path)  # doctest: +SKIP
    >>> found = session.run(None, {"image": torch.rand(1, 3, 96, 130).numpy()})  # doctest: +SKIP
    >>> found[0].shape  # doctest: +SKIP
    (100, 4)
    """
    check_detector(detector, "detector")
    path = check_path(path, "path")
    if detector.roi_heads.kind is ROTATED:
        raise ValueError(
            "detector: expected upright boxes, got rotated boxes; ONNX has no suppression of rotated boxes, so export "
            "a torch.export program instead (a .pt2 file)"
        )
    from .onnx_nms import TRANSLATION

    image, shapes = _example(detector)
    names = ["boxes", "scores", "labels", "valid", *(["masks"] if detector.roi_heads.mask_branch is not None else [])]
    with torch.no_grad(), _quiet_exporter():
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
    with atomic_write(path) as file:
        file.write(model.SerializeToString())


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Context manager: PyTorch's ONNX exporter neither warns about itself nor logs anything but errors."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(max(before, logging.ERROR))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _example(detector: TwoStageDetector) -> tuple[Tensor, Any]:
    device = next(detector.parameters()).device
    side = torch.export.Dim.DYNAMIC
    return torch.rand(1, 3, *EXAMPLE, device=device), ({2: side, 3: side},)
