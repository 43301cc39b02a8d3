"""Models of timm as backbones, with the maps of all levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from .backbone import NO_TOKENS, BackboneError, BackboneOptions, ImageSize, Normalisation, chosen_size, refuse
from .torch_backbone import DEFAULT_SIZE, TorchBackbone, state_hash
from .torch_state import seeded

PIXEL = 255.0


class TimmBackbone(TorchBackbone):
    """A model of timm, created with ``features_only``. The image size and normalisation are timm's for its weights.

    Parameters
    ----------
    model : str
        A name of `timm.list_models()`, with or without the tag of the weights.
    options : BackboneOptions
        `weights` is a file of weights, or "none" for random weights. By default, timm loads its own.
    """

    def __init__(self, model: str, options: BackboneOptions) -> None:
        import timm

        name = f"timm:{model}"
        if not timm.is_model(model.partition(".")[0]):
            raise BackboneError.of("a model of timm", repr(name))
        refuse(options, name, **NO_TOKENS)
        overlay: dict[str, Any] = {}
        if options.weights not in (None, "none"):
            overlay = {"pretrained_cfg_overlay": {"file": options.weights}}
        fixed = {"img_size": options.image_size} if options.image_size is not None else {}
        arguments = {"features_only": True, "pretrained": options.weights != "none", **overlay}
        try:
            with seeded():
                try:
                    module = timm.create_model(model, **arguments, **fixed)
                except TypeError:  # convolutional networks have no img_size
                    module = timm.create_model(model, **arguments)
        except Exception as error:  # timm raises many kinds of errors
            raise BackboneError.of("a model that timm can create", repr(name), error) from error
        config = timm.data.resolve_data_config({}, model=module)
        self._is_channels_last = getattr(module, "output_fmt", None) == "NHWC"
        self._reductions = module.feature_info.reduction()
        size = _image_size(options, config["input_size"][1:], module, max(self._reductions))
        mean, deviation = (tuple(PIXEL * value for value in config[part]) for part in ("mean", "std"))
        normalisation = Normalisation(mean, deviation)
        if options.normalise is not None:
            normalisation = Normalisation.of(options.normalise)
        facts: dict[str, object] = {"timm": timm.__version__, "weights": state_hash(module)}
        strides = sorted(set(self._reductions))  # a last map of 4 x 4 of 224 x 224 pixels has stride 64, not 56
        super().__init__(module.eval(), options, size, normalisation, name=name, facts=facts, strides=strides)

    def network(self, images: Tensor) -> Sequence[Tensor]:
        maps = self.module(images)
        if self._is_channels_last:
            maps = [features.permute(0, 3, 1, 2) for features in maps]
        # Use the last of several levels with the same stride. In a transformer, all levels have the same stride.
        last = dict(zip(self._reductions, maps, strict=True))
        return [last[stride] for stride in sorted(last)]


def _image_size(options: BackboneOptions, own: Sequence[int], module: Any, multiple: int) -> ImageSize:
    """Return the image size. Models of a fixed size get squares by default."""
    if not module.pretrained_cfg.get("fixed_input_size"):
        return chosen_size(options, own[0] or DEFAULT_SIZE, multiple)
    side = options.image_size
    if side in (None, own[0], tuple(own)):  # LeViT's own size is not a multiple of its last stride
        return ImageSize(fixed=(own[0], own[1]))
    return chosen_size(replace(options, image_size=(side, side) if isinstance(side, int) else side), own[0], multiple)
