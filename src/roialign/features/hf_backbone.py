"""Vision models of Hugging Face's transformers as backbones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .backbone import BackboneError, BackboneOptions, ImageSize, Normalisation, chosen_size
from .tokens import tokens_to_map
from .torch_backbone import MULTIPLE, TorchBackbone, state_hash

PIXEL = 255.0
#: How many tokens come before those of the patches, by the model's type; of others the user says it.
PREFIX_TOKENS: dict[str, int] = {
    "beit": 1,
    "clip_vision_model": 1,
    "data2vec-vision": 1,
    "deit": 2,
    "dinov2": 1,
    "ijepa": 0,
    "siglip_vision_model": 0,
    "vit": 1,
    "vit_msn": 1,
}
#: Types with register tokens besides one class token; the configuration says how many.
WITH_REGISTERS = ("dinov2_with_registers", "dinov3_vit")


class HfBackbone(TorchBackbone):
    """The last hidden state of a model of transformers: a map, or tokens seen as one.

    Parameters
    ----------
    source : str
        A folder that `save_pretrained` has written, the name of a model of the hub, or a ``config.json`` for a model of
        random weights.
    options : BackboneOptions
        `prefix_tokens` and `patch_size` where the model is a transformer of a type that is not known here.
    """

    def __init__(self, source: str, options: BackboneOptions) -> None:
        name = f"hf:{source}"
        model, config = _load(source, options, name)
        self._prefix = _prefix_tokens(config, options)
        self._patch = options.patch_size or getattr(config, "patch_size", None)
        if isinstance(self._patch, (list, tuple)):
            self._patch = self._patch[0]
        self._trained = getattr(config, "image_size", None)
        processing = _processing(source)
        size = _image_size(config, processing, options, None if self._prefix is None else self._patch)
        facts: dict[str, object] = {"model": config.model_type, "weights": state_hash(model)}
        super().__init__(model, options, size, _normalisation(processing, options), name=name, facts=facts)

    def network(self, images: Tensor) -> Sequence[Tensor]:
        own = self._trained if isinstance(self._trained, int) else None
        moved = own is not None and tuple(images.shape[2:]) != (own, own)
        more = {"interpolate_pos_encoding": True} if moved and self._prefix is not None else {}
        answer = self.module(pixel_values=images, **more).last_hidden_state
        if answer.ndim == 4:
            return [answer]
        if self._prefix is None or self._patch is None:
            raise BackboneError(f"{self.name}: tokens [N, L, C] need --prefix-tokens and --patch-size")
        grid = (images.shape[2] // self._patch, images.shape[3] // self._patch)
        try:
            return [tokens_to_map(answer, grid, self._prefix)]
        except ValueError as error:
            raise BackboneError(f"{self.name}: {error}") from error

    def facts(self) -> dict[str, object]:
        import transformers

        return {**super().facts(), "transformers": transformers.__version__}


def _load(source: str, options: BackboneOptions, name: str) -> tuple[Any, Any]:
    """The model in evaluation mode, and its configuration; of one with text beside images, the part for images."""
    import transformers

    torch.manual_seed(0)  # random weights are the same in every run
    try:
        config = transformers.AutoConfig.from_pretrained(source)
        if source.endswith(".json") or options.weights == "none":
            model = transformers.AutoModel.from_config(config)
        else:
            model = transformers.AutoModel.from_pretrained(options.weights or source)
    except Exception as error:  # of a folder, a name, or the network
        raise BackboneError(f"{name}: {str(error).partition(chr(10))[0] or type(error).__name__}") from error
    model = getattr(model, "vision_model", model)
    return model.eval(), getattr(model, "config", config)


def _prefix_tokens(config: Any, options: BackboneOptions) -> int | None:
    if options.prefix_tokens is not None:
        return options.prefix_tokens
    if config.model_type in WITH_REGISTERS:
        return 1 + int(config.num_register_tokens)
    return PREFIX_TOKENS.get(config.model_type)


def _processing(source: str) -> Mapping[str, Any]:
    """What the model's image processor is set to; empty where a folder has none."""
    import transformers

    folder = Path(source)
    if folder.is_dir() or source.endswith(".json"):
        path = (folder if folder.is_dir() else folder.parent) / "preprocessor_config.json"
        content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return content if isinstance(content, dict) else {}
    processing, _ = transformers.ImageProcessingMixin.get_image_processor_dict(source)
    return dict(processing)


def _image_size(config: Any, processing: Mapping[str, Any], options: BackboneOptions, patch: int | None) -> ImageSize:
    """Multiples of the patch; by default the shorter side that the model was trained with."""
    size = processing.get("size")
    if isinstance(size, dict):
        size = size.get("shortest_edge") or size.get("height")
    trained = getattr(config, "image_size", None) or size or 224
    trained = trained if isinstance(trained, int) else trained[0]
    return chosen_size(options, trained, patch or MULTIPLE)


def _normalisation(processing: Mapping[str, Any], options: BackboneOptions) -> Normalisation:
    if options.normalise is None and "image_mean" in processing and processing.get("do_normalize", True):
        one, two = (tuple(PIXEL * value for value in processing[part]) for part in ("image_mean", "image_std"))
        return Normalisation(one, two)
    return Normalisation.of(options.normalise or "imagenet")
