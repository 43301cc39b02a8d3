"""Random numbers that are a function of their position in the run, so that no generator state has to be saved."""

from __future__ import annotations

import numpy as np
import torch

#: The purposes of seeds. Each has its own number, so that no two share a seed.
ORDER, MIRROR, SAMPLE, ITERATION, WEIGHTS, VALIDATION = range(6)


def seed_of(*numbers: int) -> int:
    """A seed below 2^63, computed from several non-negative numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator_of(*numbers: int) -> torch.Generator:
    """A CPU generator with the seed of these numbers."""
    return torch.Generator().manual_seed(seed_of(*numbers))
