"""The optimiser and its learning rate."""

from __future__ import annotations

import math

import torch
from torch import nn

from .settings import TrainSettings

#: A step schedule divides the learning rate by ten after these shares of the iterations.
STEPS = (2 / 3, 8 / 9)


def learning_rate(settings: TrainSettings, iteration: int) -> float:
    """The learning rate of an iteration, counted from 0. It has no state to save."""
    factor = min(1.0, (iteration + 1) / (settings.warmup + 1))
    progress = iteration / settings.iterations
    if settings.schedule == "cosine":
        factor *= 0.5 * (1 + math.cos(math.pi * progress))
    else:
        factor *= 0.1 ** sum(progress >= step for step in STEPS)
    return settings.learning_rate * factor


def make_optimiser(settings: TrainSettings, model: nn.Module) -> torch.optim.Optimizer:
    """AdamW or SGD. Normalisation weights and biases have no weight decay."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in learning if parameter.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [parameter for parameter in learning if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.optimiser == "sgd":
        return torch.optim.SGD(groups, settings.learning_rate, momentum=settings.momentum)
    return torch.optim.AdamW(groups, settings.learning_rate)
