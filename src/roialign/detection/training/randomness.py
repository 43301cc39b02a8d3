"""Numbers that look random and are a function of where they are drawn: nothing about them needs to be saved."""

from __future__ import annotations

import numpy as np
import torch

#: What a seed is for, so that no two uses share one.
ORDER, MIRROR, SAMPLE, ITERATION, WEIGHTS, VALIDATION = range(6)


def seed_of(*numbers: int) -> int:
    """One seed of several numbers of at least 0; below 2^63."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator_of(*numbers: int) -> torch.Generator:
    """A generator on the CPU with that seed."""
    return torch.Generator().manual_seed(seed_of(*numbers))
