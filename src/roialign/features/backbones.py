"""Creates backbones by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .._extras import require
from ..files.problems import FileError
from .backbone import Backbone, BackboneError, BackboneOptions
from .checks import check_text


def _efficientnet_lite0(rest: str, options: BackboneOptions) -> Backbone:
    del rest
    from .efficientnet_lite import efficientnet_lite0

    return efficientnet_lite0(options)


def _pixels(rest: str, options: BackboneOptions) -> Backbone:
    del rest
    from .pixels import PixelBackbone

    return PixelBackbone(options)


def _onnx(rest: str, options: BackboneOptions) -> Backbone:
    from .onnx_backbone import OnnxBackbone

    return OnnxBackbone(Path(rest), options, name=f"onnx:{rest}")


def _program(rest: str, options: BackboneOptions) -> Backbone:
    require("torch", "torch")
    from .torch_backbone import ProgramBackbone

    return ProgramBackbone(Path(rest), options)


def _detector(rest: str, options: BackboneOptions) -> Backbone:
    require("detection", "torch")
    from .torch_backbone import DetectorBackbone

    return DetectorBackbone(Path(rest), options)


def _timm(rest: str, options: BackboneOptions) -> Backbone:
    require("timm", "torch", "timm")
    from .timm_backbone import TimmBackbone

    return TimmBackbone(rest, options)


def _hf(rest: str, options: BackboneOptions) -> Backbone:
    require("hf", "torch", "transformers")
    from .hf_backbone import HfBackbone

    return HfBackbone(rest, options)


#: For each kind, the part before the colon: how its name is written, and the function that creates it.
BACKBONES: dict[str, tuple[str, Callable[[str, BackboneOptions], Backbone]]] = {
    "efficientnet-lite0": ("efficientnet-lite0", _efficientnet_lite0),
    "onnx": ("onnx:FILE", _onnx),
    "program": ("program:FILE", _program),
    "detector": ("detector:WEIGHTS", _detector),
    "timm": ("timm:NAME", _timm),
    "hf": ("hf:PATH", _hf),
    "pixels": ("pixels", _pixels),
}


def make_backbone(text: str, options: BackboneOptions | None = None) -> Backbone:
    """Create a backbone by name.

    Parameters
    ----------
    text : str
        - ``efficientnet-lite0``: trained on ImageNet;
        - ``onnx:FILE``: an ONNX model;
        - ``program:FILE``: a program saved by `torch.export.save`;
        - ``detector:WEIGHTS``: the backbone of a detector of :mod:`roialign.detection`;
        - ``timm:NAME``: a model of timm;
        - ``hf:PATH``: a model of transformers, given by a folder, a ``config.json`` or a name on the Hugging Face Hub;
        - ``pixels``: the RGB pixels themselves.
    options : BackboneOptions, optional
        The image size, the normalisation, the device and other options.

    Returns
    -------
    Backbone

    Raises
    ------
    BackboneError
        If the name is unknown or a file cannot be used.
    ValueError
        If an option is invalid.
    TypeError
        If the name is not a string.
    ModuleNotFoundError
        If a package is missing. The message has the command that installs it.

    Examples
    --------
    >>> from roialign.features import make_backbone
    >>> make_backbone("pixels").strides
    (1,)
    """
    check_text(text, "backbone")
    kind, colon, rest = text.partition(":")
    if kind not in BACKBONES or (":" in BACKBONES[kind][0]) != bool(colon and rest):
        names = ", ".join(written for written, _ in BACKBONES.values())
        expected = BACKBONES[kind][0] if kind in BACKBONES else f"one of {names}"
        raise BackboneError.of(expected, repr(text))
    try:
        return BACKBONES[kind][1](rest, BackboneOptions() if options is None else options)
    except BackboneError:
        raise
    except FileError as error:
        raise BackboneError.of(BACKBONES[kind][0], repr(text), str(error).removeprefix(f"{rest}: ")) from error
