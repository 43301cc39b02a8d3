"""Checks of the images and targets that a detector is called with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard, cast

import torch
from torch import Tensor, nn

from .._validate import check_number
from .._warnings import is_recorded, warn_of_values
from ..torch.checks import check_format, no_tensor
from .box_kinds import BoxKind
from .roi_heads import RoIHeads, Target

#: Images from 0 to 1 may overshoot by less than this, through resampling or noise. Most normalised images do not.
LOWEST, HIGHEST = -1.0, 2.0


def check_images(images: object, weights: Tensor) -> list[Tensor]:
    """Check that there are images of the dtype of the weights, on a device of their kind. Return them as a list.

    Raises
    ------
    TypeError, ValueError
        If not. The message names the image.
    """
    if not is_iterable(images) or getattr(images, "ndim", None) == 0:
        raise TypeError(f"images: expected a list of float tensors [3, H, W], got {type(images).__name__}")
    images = list(images)  # a batch [N, 3, H, W] is accepted too
    if not images:
        raise ValueError("images: expected at least one, got none")
    # Only ordinary parameters say what the layers compute with: a wrapper for sharding may cast its own.
    # Weights on the meta device are loaded by a wrapper when they are needed.
    is_certain = type(weights) is nn.Parameter and not weights.is_meta
    is_cast = not is_certain or torch.is_autocast_enabled(weights.device.type)
    for index, image in enumerate(images):
        _check_tensor(image, f"images[{index}]")
        if image.ndim != 3 or image.shape[0] != 3 or not image.is_floating_point() or image.numel() == 0:
            raise ValueError(
                f"images[{index}]: expected a float tensor [3, H, W], got {tuple(image.shape)} of {image.dtype}"
            )
        if is_certain and image.device.type != weights.device.type:
            raise ValueError(f"images[{index}]: expected the device of the model, {weights.device}, got {image.device}")
        if not is_cast and image.dtype != weights.dtype:
            raise TypeError(f"images[{index}]: expected the dtype of the weights, {weights.dtype}, got {image.dtype}")
    return images


def check_image(image: Any, name: str) -> None:
    """Check the image of an exported detector, a float tensor ``[1, 3, H, W]``.

    Raises
    ------
    TypeError, ValueError
        If it is not one. The message names it.
    """
    _check_tensor(image, name)
    if image.ndim != 4 or image.shape[0] != 1 or image.shape[1] != 3 or not image.is_floating_point():
        raise ValueError(f"{name}: expected a float tensor [1, 3, H, W], got {tuple(image.shape)} of {image.dtype}")


def warn_of_range(image: Tensor, name: str) -> bool:
    """Warn about an image whose values are far from 0 to 1, or NaN. Return whether there was a warning.

    Images on a GPU are not read, since that would synchronise with it, nor are those of a call that is recorded.
    """
    if type(image) is not Tensor or image.device.type != "cpu" or is_recorded():
        return False
    lowest, highest = (float(value) for value in image.detach().aminmax())
    if lowest > LOWEST and highest < HIGHEST:
        return False
    warn_of_values(name, lowest, highest, 1)
    return True


def for_model(image: Tensor, model: nn.Module) -> Tensor:
    """An image on the device of a model, with the dtype of its weights."""
    weights = next(model.parameters())
    return image.to(weights.device, weights.dtype if weights.is_floating_point() else image.dtype)


def check_detector(model: object, name: str = "model") -> None:
    """Check that a model is a detector, or is compiled from one.

    Raises
    ------
    TypeError
        If it is not.
    """
    if not hasattr(model, "roi_heads"):
        wraps = f"; pass the model within the {type(model).__name__}" if hasattr(model, "module") else ""
        raise TypeError(f"{name}: expected a TwoStageDetector, got {type(model).__name__}{wraps}")


def is_iterable(value: object) -> TypeGuard[Iterable[Any]]:
    """Whether a loop can go through a value. A class of its own may have only ``__getitem__``."""
    return hasattr(value, "__iter__") or hasattr(value, "__getitem__")


def is_list_like(value: object) -> TypeGuard[Sequence[Any]]:
    """Whether a loop can go through a value that has a length."""
    return hasattr(value, "__len__") and is_iterable(value)


def check_anchor_sizes(sizes: object) -> list[list[float]]:
    """Check the sizes of the anchors of every map, in pixels."""
    if not is_list_like(sizes) or not all(map(is_list_like, sizes)):
        raise TypeError(f"anchor_sizes: expected a sequence of sizes for each map, got {sizes!r}")
    if not len(sizes) or not all(map(len, sizes)):
        raise ValueError(f"anchor_sizes: expected at least one size for each map, got {sizes!r}")
    return [
        [check_number(size, f"anchor_sizes[{level}][{place}]", positive=True) for place, size in enumerate(of_level)]
        for level, of_level in enumerate(sizes)
    ]


def check_targets(targets: Sequence[Target] | None, images: Sequence[Tensor], heads: RoIHeads) -> list[Target]:
    """Check that there is a valid target for every image, on the same device. Return them with boxes of floats.

    Raises
    ------
    TypeError, ValueError
        If not. The message names the target, its entry and its row.
    """
    if targets is not None and (isinstance(targets, Mapping) or not is_list_like(targets)):
        kind = "a dict" if isinstance(targets, Mapping) else type(targets).__name__
        raise TypeError(f"targets: expected a list with one dict per image, got {kind}")
    if targets is None or len(targets) != len(images):
        got = "none" if targets is None else len(targets)
        raise ValueError(f"targets: expected {len(images)} in training mode, one per image, got {got}")
    checked: list[Target] = []
    for index, (target, image) in enumerate(zip(targets, images, strict=True)):
        name = f"targets[{index}]"
        if not isinstance(target, Mapping):
            raise TypeError(f"{name}: expected a dict, got {type(target).__name__}")
        checked.append({**target, heads.kind.key: _check_boxes(target, heads.kind, image.device, name)})
        _check_labels(target["labels"], heads.num_classes, name)
        if heads.mask_branch is not None:
            _check_masks(target, (len(target["labels"]), *image.shape[-2:]), image.device, name)
    return checked


def check_generators(generators: object, count: int) -> None:
    """Check that there are no generators, or one per image.

    Raises
    ------
    TypeError, ValueError
        If not.
    """
    if not isinstance(generators, Sequence):
        raise TypeError(f"generators: expected a list with one per image, got {type(generators).__name__}")
    if len(generators) not in (0, count):
        raise ValueError(f"generators: expected {count}, one per image, got {len(generators)}")


def maps_of(backbone: Any, batch: Tensor) -> list[Tensor]:
    """The feature maps of a batch. A backbone returns a sequence or a dict of maps, or a single map.

    Raises
    ------
    TypeError, ValueError
        If the maps are not as many, do not have as many channels, or are not of the strides, that the backbone says.
    """
    returned = backbone(batch)
    if isinstance(returned, Tensor):
        returned = [returned]
    elif isinstance(returned, Mapping):
        returned = returned.values()
    elif not isinstance(returned, Iterable):
        raise TypeError(f"backbone: expected it to return feature maps, got {type(returned).__name__}")
    maps = list(returned)
    strides, channels = backbone.strides, backbone.out_channels
    if len(maps) != len(strides):
        raise ValueError(f"backbone: expected {len(strides)} maps, one per stride {list(strides)}, got {len(maps)}")
    for index, features in enumerate(maps):
        _check_tensor(features, f"backbone: map {index}")
        if features.ndim != 4 or features.shape[1] != channels:
            raise ValueError(f"backbone: map {index}: expected [N, {channels}, H, W], got {tuple(features.shape)}")
        if not torch.compiler.is_compiling():  # sizes may not be known
            _check_stride(features, strides[index], batch, f"backbone: map {index}")
    return maps


def _check_stride(features: Tensor, stride: int, batch: Tensor, name: str) -> None:
    """Check that a map has about the stride that it should have. Layers without padding cut off some pixels."""
    sides, whole = features.shape[2:], batch.shape[2:]
    if any(
        abs(side * stride - pixels) > max(pixels / 3, 2 * stride) for side, pixels in zip(sides, whole, strict=True)
    ):
        expected = " x ".join(str(round(pixels / stride)) for pixels in whole)
        raise ValueError(
            f"{name}: expected about {expected} pixels for an image of {whole[0]} x {whole[1]}, because strides says "
            f"{stride}, got {sides[0]} x {sides[1]}"
        )


def check_backbone(backbone: object) -> None:
    """Check that a module says what a detector needs to know of a backbone.

    Raises
    ------
    TypeError, ValueError
        If it does not. The message names what is missing.
    """
    needed = ("strides", "out_channels", "pooled_levels")
    missing = [name for name in needed if not hasattr(backbone, name)]
    if missing or not isinstance(backbone, nn.Module):
        got = type(backbone).__name__ + (f" without {', '.join(missing)}" if missing else "")
        raise TypeError(
            f"backbone: expected a module with the attributes {', '.join(needed)}, such as PyramidBackbone, got {got}"
        )
    levels, maps = int(cast(int, backbone.pooled_levels)), len(cast("Sequence[int]", backbone.strides))
    if not 1 <= levels <= maps:
        raise ValueError(f"backbone: expected pooled_levels from 1 to {maps}, the number of strides, got {levels}")


def _check_tensor(value: object, name: str, device: torch.device | None = None) -> None:
    if not isinstance(value, Tensor):
        raise no_tensor(value, name)
    if device is not None and value.device != device:
        raise ValueError(f"{name}: expected the device of the image, {device}, got {value.device}")


def _check_boxes(target: Target, kind: BoxKind, device: torch.device, name: str) -> Tensor:
    """Return the boxes as float32, or float64 if they are."""
    if kind.key not in target or "labels" not in target:
        expected = f"{kind.key} [L, {kind.numbers}] and labels [L]"
        raise ValueError(f"{name}: expected {expected}, got {', '.join(map(str, target)) or 'an empty dict'}")
    boxes, labels = target[kind.key], target["labels"]
    _check_tensor(boxes, f"{name}: {kind.key}", device)
    check_format(boxes, f"{name}: {kind.key}")
    _check_tensor(labels, f"{name}: labels", device)
    if boxes.ndim != 2 or boxes.shape[1] != kind.numbers or labels.shape != boxes.shape[:1]:
        raise ValueError(
            f"{name}: expected {kind.key} [L, {kind.numbers}] and labels [L], got {tuple(boxes.shape)} and "
            f"{tuple(labels.shape)}"
        )
    if boxes.dtype == torch.bool or boxes.is_complex():
        raise TypeError(f"{name}: {kind.key}: expected real numbers, got {boxes.dtype}")
    boxes = cast(Tensor, boxes.to(torch.promote_types(boxes.dtype, torch.float32)))
    bad = torch.where(~kind.valid(boxes))[0]
    if len(bad):
        row = int(bad[0])
        got = boxes[row].tolist()
        raise ValueError(f"{name}: {kind.key}: row {row}: expected finite {kind.form}, got {got}")
    return boxes


def _check_labels(labels: Tensor, num_classes: int, name: str) -> None:
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"{name}: labels: expected integers, got {labels.dtype}")
    bad = torch.where((labels < 1) | (labels >= num_classes))[0]
    if len(bad):
        row = int(bad[0])
        raise ValueError(f"{name}: labels: row {row}: expected 1 to {num_classes - 1}, got {int(labels[row])}")


def _check_masks(target: Target, shape: tuple[int, ...], device: torch.device, name: str) -> None:
    if "masks" not in target:
        raise ValueError(f"{name}: expected masks {list(shape)}, one per box, got none")
    masks = target["masks"]
    _check_tensor(masks, f"{name}: masks", device)
    if tuple(masks.shape) != shape:
        expected = f"shape {list(shape)}, a mask of the size of the image per box"
        raise ValueError(f"{name}: masks: expected {expected}, got {tuple(masks.shape)}")
    if masks.dtype != torch.bool and masks.numel():
        least, most = (float(value) for value in masks.detach().aminmax())
        if not (least >= 0 and most <= 1):
            raise ValueError(f"{name}: masks: expected values from 0 to 1, got {least:g} to {most:g}")
