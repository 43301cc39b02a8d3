"""The optimiser and its learning rate."""

from __future__ import annotations

import math

import torch
from torch import nn

from ...torch import DeformRoIPoolPack
from .settings import TrainSettings

#: A step schedule divides the learning rate by ten after these fractions of the iterations.
STEPS = (2 / 3, 8 / 9)
#: The factor of the learning rate for offsets. With a factor of 1, the bins of a mask head leave their boxes within a
#: few steps and do not return (see docs/deformable.md). The paper uses a factor of 0.01.
OFFSET_RATE = 0.1


def learning_rate(settings: TrainSettings, iteration: int) -> float:
    """The learning rate of an iteration, counted from 0. It has no state to save."""
    factor = min(1.0, (iteration + 1) / (settings.warmup + 1))
    progress = iteration / settings.iterations
    if settings.schedule == "cosine":
        factor *= 0.5 * (1 + math.cos(math.pi * progress))
    else:
        factor *= 0.1 ** sum(progress >= step for step in STEPS)
    return settings.learning_rate * factor


def make_optimiser(
    settings: TrainSettings, model: nn.Module, offset_rate: float = OFFSET_RATE
) -> torch.optim.Optimizer:
    """AdamW or SGD. Normalisation weights and biases have no weight decay.

    The layers that predict the offsets of a deformable pooler have `offset_rate` times the learning rate.
    """
    of_offsets = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, DeformRoIPoolPack)
        for parameter in module.parameters()
    }
    groups = []
    for slow in (False, True):
        chosen = [each for each in model.parameters() if each.requires_grad and (id(each) in of_offsets) == slow]
        if slow and not chosen:
            continue
        factor = offset_rate if slow else 1.0
        for decay, parameters in (
            (settings.weight_decay, [each for each in chosen if each.ndim > 1]),
            (0.0, [each for each in chosen if each.ndim <= 1]),
        ):
            groups.append({"params": parameters, "weight_decay": decay, "factor": factor})
    if settings.optimiser == "sgd":
        return torch.optim.SGD(groups, settings.learning_rate, momentum=settings.momentum)
    return torch.optim.AdamW(groups, settings.learning_rate)


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of each parameter group."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("factor", 1.0)  # checkpoints of earlier versions have no factor
