"""`roialign export`: a detector as one file that runs without this package's Python."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .._extras import is_installed
from .inference import Model, PoolerName, Weights
from .options import check_output
from .terminal import fails, print_line

EXPORT_EXAMPLES = """
# Standard operators of ONNX, for onnxruntime or OpenVINO
roialign export --weights run --out model.onnx

# A program of torch.export, for a Python process that imports roialign.detection
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
    """Write a detector as one ONNX or torch file.

    Its input is one image, float [1, 3, height, width] from 0 to 1, of any height and width above 64 pixels. Its
    outputs are boxes, scores, labels, valid and, with masks, masks: a fixed number of rows, best first, of which those
    that are valid count. The image is not resized within: give it the size that the detector was trained with.
    """
    check_output(out, "--out", (ONNX_ENDING, PROGRAM_ENDING))
    errors = Console(stderr=True)
    if out.suffix == ONNX_ENDING and not is_installed("onnxscript"):
        raise fails(errors, "an ONNX model needs onnxscript, which is not installed: pip install 'onnxscript>=0.5'")
    from ..detection.exporting import export_onnx, save_program
    from ..detection.model_files import load_model

    try:
        detector, settings = load_model(weights, model=model, pooler=pooler)
        with errors.status("Recording the detector"):
            (export_onnx if out.suffix == ONNX_ENDING else save_program)(detector, out)
    except (ValueError, RuntimeError, OSError) as error:
        raise fails(errors, error) from error
    size = f"images whose shorter side is {settings.min_size} pixels, the longer at most {settings.max_size}"
    print_line(Console(), f"wrote {out}: {settings.model}, for {size}")
