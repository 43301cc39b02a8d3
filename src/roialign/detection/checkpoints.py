"""Rename torchvision's weights, in both of its layouts, to the names used here."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn

#: First torchvision's old names to its current ones (they changed when it grouped convolution and activation in
#: blocks), then its current names to the names here. The order matters.
RENAMED = (
    (r"^rpn\.head\.conv\.(weight|bias)$", r"rpn.head.conv.0.0.\1"),
    (r"^backbone\.fpn\.(inner|layer)_blocks\.(\d+)\.(weight|bias)$", r"backbone.fpn.\1_blocks.\2.0.\3"),
    (r"^roi_heads\.mask_head\.mask_fcn(\d+)\.(weight|bias)$", lambda m: _mask_head(int(m[1]) - 1, m[2])),
    (r"^roi_heads\.(box_head|box_predictor)\.", r"roi_heads.stages.0.\1."),
    (r"^roi_heads\.(mask_head|mask_predictor)\.", r"roi_heads.mask_branch.\1."),
)


def _mask_head(index: int, kind: str) -> str:
    return f"roi_heads.mask_head.{index}.0.{kind}"


def rename_weights(module: nn.Module, weights: dict[str, Any], prefix: str, *_: object) -> None:
    """Rename torchvision's weights in place. This is a hook of `load_state_dict`."""
    for name in list(weights):
        if not name.startswith(prefix):
            continue
        new = name[len(prefix) :]
        for pattern, replacement in RENAMED:
            new = re.sub(pattern, replacement, new)
        weights[prefix + new] = weights.pop(name)
    for name, part in module.named_modules():
        if isinstance(part, nn.BatchNorm2d):  # published files have no counters: the statistics were frozen
            weights.setdefault(f"{prefix}{name}.num_batches_tracked", torch.tensor(0))
