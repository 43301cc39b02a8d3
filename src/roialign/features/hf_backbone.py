"""Vision models of Hugging Face transformers as backbones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import _validate
from .._typing import Array
from ..files.problems import FileError
from ..files.text import read_json
from .backbone import (
    BackboneError,
    BackboneOptions,
    ImageSize,
    Normalisation,
    black_image,
    chosen_normalisation,
    chosen_size,
)
from .checks import check_channels
from .fixed_sizes import size_of_input
from .tokens import tokens_of_backbone
from .torch_backbone import DEFAULT_SIZE, MULTIPLE, TorchBackbone, state_hash
from .torch_state import seeded

PIXEL = 255.0
#: The file of the settings of a model's image processor.
PROCESSOR = "preprocessor_config.json"
#: The file in which the processor of text and images has them, under a key. It takes precedence, as in transformers.
PROCESSOR_OF_BOTH, KEY_OF_IMAGES = "processor_config.json", "image_processor"
#: The number of tokens before those of the patches, by model type. For other types, the user gives it.
PREFIX_TOKENS: dict[str, int] = {
    "beit": 1,
    "clip_vision_model": 1,
    "data2vec-vision": 1,
    "deit": 2,
    "dinov2": 1,
    "ijepa": 0,
    "siglip_vision_model": 0,
    "swin": 0,
    "swinv2": 0,
    "vit": 1,
    "vit_mae": 1,
    "vit_msn": 1,
}
#: Types whose stages halve the map, so that a token is as large as several patches.
WITH_STAGES = ("swin", "swinv2")
#: A type that hides a part of the patches and shuffles the others, unless it is told the order and to hide none.
SHUFFLING = "vit_mae"
#: Types with one class token and register tokens, whose number is in the configuration.
WITH_REGISTERS = ("dinov2_with_registers", "dinov3_vit")


class HfBackbone(TorchBackbone):
    """The last hidden state of a model of transformers: a map, or tokens viewed as a map.

    Parameters
    ----------
    source : str
        A folder written by `save_pretrained`, the name of a model on the Hugging Face Hub, or a ``config.json`` for a
        model with random weights.
    options : BackboneOptions
        `prefix_tokens` and `patch_size` are needed for vision transformers whose type is not in `PREFIX_TOKENS`.
    """

    def __init__(self, source: str, options: BackboneOptions) -> None:
        name = f"hf:{source}"
        model, config, missing = _load(source, options, name)
        self._prefix = _prefix_tokens(config, options)
        self._patch = options.patch_size or _patch_size(config, name, has_tokens=self._prefix is not None)
        self._trained = _both_sides(getattr(config, "image_size", None))
        self._windows = _windows(model)
        processing, file = _processing(source)
        self._is_rectangle = self._prefix is not None and _has_rectangle(model, self._trained)
        if self._is_rectangle and self._trained is not None:
            size = size_of_input(options, name, self._trained, 0, 1)
        else:
            size = _image_size(config, processing, options, None if self._prefix is None else self._patch)
        facts: dict[str, object] = {"model": config.model_type, "weights": state_hash(model)}
        self._is_bgr = _is_bgr(processing)
        if self._is_bgr:
            facts["channels"] = "BGR"
        self._shuffles = config.model_type == SHUFFLING
        if self._shuffles:
            config.mask_ratio = 0.0
        super().__init__(model, options, size, _normalisation(processing, file, options), name=name, facts=facts)
        if missing:
            self._check_missing(missing)

    def _check_missing(self, missing: Mapping[str, Tensor]) -> None:
        """Check that no feature depends on these values, which were not in the file. Those of a pooler may be absent.

        The features have a gradient in every parameter that they depend on.
        """
        image = black_image(self.image_size.of(DEFAULT_SIZE, DEFAULT_SIZE))
        parameters = [value for value in missing.values() if value.requires_grad]
        total = torch.stack([level.sum() for level in self.network(self._batch(image))])
        gradients = torch.autograd.grad(total.sum(), parameters, allow_unused=True) if parameters else ()
        unused = {id(value) for value, gradient in zip(parameters, gradients, strict=True) if gradient is None}
        needed = sorted(name for name, value in missing.items() if id(value) not in unused)
        if needed:
            raise BackboneError.of(
                "weights for every layer that the features depend on",
                f"{len(needed)} fewer in {self.name!r}",
                f"{needed[0]!r} is missing; --weights none is for random ones",
            )

    def network(self, images: Tensor) -> Sequence[Tensor]:
        resized = self._trained is not None and tuple(images.shape[2:]) != self._trained
        for layer, sizes in self._windows:
            layer.window_size, layer.shift_size = sizes
        more: dict[str, Any] = {"interpolate_pos_encoding": True} if resized and self._prefix is not None else {}
        if self._shuffles and self._patch is not None:
            patches = (images.shape[2] // self._patch) * (images.shape[3] // self._patch)
            more["noise"] = torch.arange(patches, device=images.device).expand(len(images), -1)
        if self._is_bgr:
            images = images.flip(1)
        try:
            output = self.module(pixel_values=images, **more).last_hidden_state
        except RuntimeError as error:
            if not self._is_rectangle:
                raise
            got = f"{images.shape[2]} x {images.shape[3]} pixels of {self.name!r}"
            raise BackboneError.of(
                "a model of square images, whose positions this model resizes", got, error
            ) from error
        if output.ndim == 4:
            return [output]
        return [tokens_of_backbone(output, (images.shape[2], images.shape[3]), self._prefix, self._patch, self.name)]

    def facts(self) -> dict[str, object]:
        import transformers

        return {**super().facts(), "transformers": transformers.__version__}


def _load(source: str, options: BackboneOptions, name: str) -> tuple[Any, Any, dict[str, Tensor]]:
    """Load the model in evaluation mode, its configuration, and the values of the model that were not in the file.

    Of a model of text and images, use the vision part.
    """
    import transformers

    if not Path(source).exists() and (source.endswith(".json") or source.startswith((".", "/", "~"))):
        raise BackboneError.of("a model of transformers", repr(name), "no such file or folder")
    absent: Sequence[str] = ()
    try:
        config = transformers.AutoConfig.from_pretrained(source)
        with seeded():
            if source.endswith(".json") or options.weights == "none":
                model = transformers.AutoModel.from_config(config)
            else:
                weights = source if options.weights is None else options.weights
                model, found = transformers.AutoModel.from_pretrained(weights, output_loading_info=True)
                absent = found["missing_keys"]
    except Exception as error:  # many kinds of errors, from the folder, the name or the network
        raise BackboneError.of("a model of transformers", repr(name), error) from error
    values = model.state_dict(keep_vars=True)
    missing = {key: values[key] for key in absent if key in values and values[key].is_floating_point()}
    model = getattr(model, "vision_model", model)
    return model.eval(), getattr(model, "config", config), missing


def _prefix_tokens(config: Any, options: BackboneOptions) -> int | None:
    if options.prefix_tokens is not None:
        return options.prefix_tokens
    if config.model_type in WITH_REGISTERS:
        return 1 + int(config.num_register_tokens)
    return PREFIX_TOKENS.get(config.model_type)


def _patch_size(config: Any, name: str, *, has_tokens: bool) -> int | None:
    """Return the side of what a token of the last hidden state shows, in pixels."""
    patch = getattr(config, "patch_size", None)
    if has_tokens and isinstance(patch, (list, tuple)) and len(set(patch)) > 1:
        raise BackboneError.of("a model of square patches", f"patches of {list(patch)} pixels of {name!r}")
    patch = patch[0] if isinstance(patch, (list, tuple)) else patch
    return patch * 2 ** (len(config.depths) - 1) if config.model_type in WITH_STAGES else patch


def _has_rectangle(model: nn.Module, trained: tuple[int, int] | None) -> bool:
    """Whether a model has one embedding for each position in images that are not square.

    Transformers resizes them as if they were those of a square: it raises an error, or mixes up the positions.
    """
    is_square = trained is None or trained[0] == trained[1]
    return not is_square and any("position_embedding" in name for name, _ in model.named_parameters())


def _windows(model: nn.Module) -> list[tuple[Any, tuple[Any, Any]]]:
    """Return the layers that adapt their windows to an image, with their own windows.

    They keep the smaller windows of a small image, with which later images have other features or raise an error.
    """
    layers: list[Any] = [layer for layer in model.modules() if hasattr(layer, "set_shift_and_window_size")]
    return [(layer, (layer.window_size, layer.shift_size)) for layer in layers]


def _both_sides(size: int | Sequence[int] | None) -> tuple[int, int] | None:
    """Return a height and a width, from one side of a square, or from both."""
    return (size, size) if isinstance(size, int) else (size[0], size[1]) if size else None


def _processing(source: str) -> tuple[Mapping[str, Any], str]:
    """Return the settings of the model's image processor, empty if a folder has none, and the name of their file."""
    import transformers

    folder = Path(source)
    if folder.is_dir() or source.endswith(".json"):
        folder = folder if folder.is_dir() else folder.parent
        of_both = _settings(folder / PROCESSOR_OF_BOTH).get(KEY_OF_IMAGES)
        return (of_both, PROCESSOR_OF_BOTH) if isinstance(of_both, dict) else (_settings(folder / PROCESSOR), PROCESSOR)
    processing, _ = transformers.ImageProcessingMixin.get_image_processor_dict(source)
    return dict(processing), PROCESSOR


def _settings(path: Path) -> dict[str, Any]:
    """Return the settings in a file; empty if there is none."""
    try:
        content = read_json(path) if path.exists() else {}
    except FileError as error:
        raise FileError(f"{path}: {error}") from error
    return content if isinstance(content, dict) else {}


def _image_size(config: Any, processing: Mapping[str, Any], options: BackboneOptions, patch: int | None) -> ImageSize:
    """Return the image size, in multiples of the patch. The default is the size that the model was trained with."""
    size = processing.get("size")
    if isinstance(size, dict):
        size = size.get("shortest_edge") or size.get("height")
    trained = getattr(config, "image_size", None) or size or 224
    trained = trained if isinstance(trained, int) else trained[0]
    return chosen_size(options, trained, patch or MULTIPLE)


def _is_bgr(processing: Mapping[str, Any]) -> bool:
    """Whether the model expects the channels in the order blue, green, red."""
    return bool(processing.get("do_flip_channel_order", False))


def _normalisation(processing: Mapping[str, Any], file: str, options: BackboneOptions) -> Normalisation:
    """Return the normalisation of the options, or else that of the image processor, whose settings are in `file`.

    The processor multiplies pixels by a factor, usually 1 / 255. Its mean and deviation are those of the products.
    """
    has_none = "image_mean" not in processing and "do_normalize" not in processing and not _is_bgr(processing)
    if options.normalise is not None or has_none:
        return chosen_normalisation(options, "imagenet")
    try:
        pixel = 1.0
        if processing.get("do_rescale", True):
            factor = _validate.check_number(
                processing.get("rescale_factor", 1 / PIXEL), "rescale_factor", positive=True
            )
            pixel = PIXEL if math.isclose(factor * PIXEL, 1.0) else 1 / factor
        if processing.get("offset"):  # of video models
            raise ValueError("offset: expected none, got one, which is not supported; give --normalise")
        mean, deviation = np.zeros(3), np.full(3, pixel)
        # A processor of BGR, which is MobileViT's, has a mean, but does not use it.
        if processing.get("do_normalize", "image_mean" in processing and not _is_bgr(processing)):
            mean, deviation = (pixel * _channels(processing, name) for name in ("image_mean", "image_std"))
        if processing.get("rescale_offset"):  # 1 is subtracted from the products
            mean = mean + pixel
        if processing.get("include_top"):  # EfficientNet's, which divides by the deviation once more
            deviation = deviation * _channels(processing, "image_std")
        return Normalisation(tuple(mean.tolist()), tuple(deviation.tolist()))
    except (ValueError, TypeError) as error:
        raise FileError(f"{file}: {error}") from error


def _channels(processing: Mapping[str, Any], name: str) -> Array:
    """Return the numbers of the three channels. One number is that of every channel."""
    value = processing.get(name)
    numbers = [value] * 3 if isinstance(value, (int, float)) else value
    return np.array(check_channels(numbers, name, positive=name == "image_std"))
