"""`roialign export`: writes a detector as one file that runs without the training code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .._extras import is_installed
from .inference import Model, PoolerName, Weights
from .outputs import check_output
from .terminal import fails, print_line

EXPORT_EXAMPLES = """
# An ONNX model with standard operators, for onnxruntime or OpenVINO
roialign export --weights run --out model.onnx

# A torch.export program, for Python processes that import roialign.detection
roialign export --weights run --out model.pt2
"""

ONNX_ENDING, PROGRAM_ENDING = ".onnx", ".pt2"


def export_command(
    weights: Weights,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="File to write: an ONNX model (.onnx) or a torch.export program (.pt2).",
            show_default=False,
        ),
    ],
    model: Model = None,
    pooler: PoolerName = None,
) -> None:
    """Export a detector to an ONNX or torch.export file.

    The input is one float image [1, 3, height, width] with values from 0 to 1 and sides above 64 pixels. The outputs
    are boxes, scores, labels, valid and, if the detector has them, masks or rotated boxes. They have a fixed number of
    rows in descending order of score. Only the rows in which valid is true are detections. The model does not resize
    its input: resize images to the size that the detector was trained with.

    A detector of rotated boxes cannot be an ONNX model, only a torch.export program.
    """
    check_output(out, "--out", (ONNX_ENDING, PROGRAM_ENDING))
    errors = Console(stderr=True)
    is_onnx = out.suffix.lower() == ONNX_ENDING
    if is_onnx and not is_installed("onnxscript"):
        raise fails(errors, "an ONNX model needs onnxscript, which is not installed: pip install 'onnxscript>=0.5'")
    from ..detection.exporting import export_onnx, save_program
    from ..detection.model_files import load_model

    try:
        detector, settings = load_model(weights, model=model, pooler=pooler)
        kind = "an ONNX model" if is_onnx else "a torch.export program"
        what = f"{settings.model} on {settings.backbone} as {kind}"
        print_line(errors, f"exporting {what}: this may take a few minutes")
        with errors.status("Exporting the detector"):
            (export_onnx if is_onnx else save_program)(detector, out)
    except (ValueError, RuntimeError, OSError) as error:
        raise fails(errors, error) from error
    size = f"images with a shorter side of {settings.min_size} pixels and a longer side of at most {settings.max_size}"
    print_line(Console(), f"wrote {out}: {settings.model}, for {size}")
