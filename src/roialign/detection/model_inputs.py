"""Checks of the images and targets that a detector is called with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .box_kinds import BoxKind, Size
from .roi_heads import RoIHeads, Target


def check_images(images: Sequence[Any], weights: Tensor) -> None:
    """Check that there are images of the dtype of the weights.

    Raises
    ------
    TypeError, ValueError
        If not. The message names the image.
    """
    if not images:
        raise ValueError("images: expected at least one, got none")
    # Only ordinary parameters say what the layers compute with: a wrapper for sharding may cast its own.
    is_certain = type(weights) is nn.Parameter and not torch.is_autocast_enabled(weights.device.type)
    for index, image in enumerate(images):
        _check_tensor(image, f"images[{index}]")
        if image.ndim != 3 or image.shape[0] != 3 or not image.is_floating_point() or image.numel() == 0:
            raise ValueError(
                f"images[{index}]: expected a float tensor [3, H, W], got {tuple(image.shape)} of {image.dtype}"
            )
        if is_certain and image.dtype != weights.dtype:
            raise TypeError(f"images[{index}]: expected the dtype of the weights, {weights.dtype}, got {image.dtype}")


def check_targets(targets: Sequence[Target] | None, sizes: Sequence[Size], heads: RoIHeads) -> None:
    """Check that there is a valid target for every image, whose height and width are given.

    Raises
    ------
    TypeError, ValueError
        If not. The message names the target, its entry and its row.
    """
    if isinstance(targets, Mapping):
        raise TypeError("targets: expected a list with one dict per image, got a dict")
    if targets is None or len(targets) != len(sizes):
        got = "none" if targets is None else len(targets)
        raise ValueError(f"targets: expected {len(sizes)} in training mode, one per image, got {got}")
    for index, (target, size) in enumerate(zip(targets, sizes, strict=True)):
        name = f"targets[{index}]"
        if not isinstance(target, Mapping):
            raise TypeError(f"{name}: expected a dict, got {type(target).__name__}")
        _check_boxes(target, heads.kind, name)
        _check_labels(target["labels"], heads.num_classes, name)
        if heads.mask_branch is not None:
            _check_masks(target, (len(target["labels"]), *size), name)


def _check_tensor(value: object, name: str) -> None:
    if not isinstance(value, Tensor):
        kind = type(value)
        raise TypeError(f"{name}: expected a torch.Tensor, got {kind.__module__}.{kind.__qualname__}")


def _check_boxes(target: Target, kind: BoxKind, name: str) -> None:
    if kind.key not in target or "labels" not in target:
        expected = f"{kind.key} [L, {kind.numbers}] and labels [L]"
        raise ValueError(f"{name}: expected {expected}, got {', '.join(map(str, target)) or 'an empty dict'}")
    boxes, labels = target[kind.key], target["labels"]
    _check_tensor(boxes, f"{name}: {kind.key}")
    _check_tensor(labels, f"{name}: labels")
    if boxes.ndim != 2 or boxes.shape[1] != kind.numbers or labels.shape != boxes.shape[:1]:
        raise ValueError(
            f"{name}: expected {kind.key} [L, {kind.numbers}] and labels [L], got {tuple(boxes.shape)} and "
            f"{tuple(labels.shape)}"
        )
    bad = torch.where(~kind.valid(boxes))[0]
    if len(bad):
        row = int(bad[0])
        got = boxes[row].tolist()
        raise ValueError(f"{name}: {kind.key}: row {row}: expected finite {kind.form}, got {got}")


def _check_labels(labels: Tensor, num_classes: int, name: str) -> None:
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"{name}: labels: expected integers, got {labels.dtype}")
    bad = torch.where((labels < 1) | (labels >= num_classes))[0]
    if len(bad):
        row = int(bad[0])
        raise ValueError(f"{name}: labels: row {row}: expected 1 to {num_classes - 1}, got {int(labels[row])}")


def _check_masks(target: Target, shape: tuple[int, int, int], name: str) -> None:
    if "masks" not in target:
        raise ValueError(f"{name}: expected masks {list(shape)}, one per box, got none")
    masks = target["masks"]
    _check_tensor(masks, f"{name}: masks")
    if tuple(masks.shape) != shape:
        expected = f"shape {list(shape)}, a mask of the size of the image per box"
        raise ValueError(f"{name}: masks: expected {expected}, got {tuple(masks.shape)}")
