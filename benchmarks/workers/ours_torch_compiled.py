"""roialign with tensors, compiled by torch.compile: measures the overhead of the custom op."""

from __future__ import annotations

import torch

from .ours_torch import prepare_function
from .ours_torch import versions as versions
from .work import Inputs, Work


def prepare(inputs: Inputs) -> Work:
    torch._dynamo.reset()
    return prepare_function(inputs, lambda function: torch.compile(function, fullgraph=True))
