"""Philox-4x32-10, the counter-based generator behind random sampling (Salmon et al., SC 2011).

A counter-based generator is a pure function, so every backend draws the same points for the same seed in any order.
"""

from __future__ import annotations

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_MASK = 0xFFFFFFFF


def philox_4x32(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Ten rounds of Philox-4x32 on a counter of four 32-bit words with a key of two words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        product_0, product_1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (
            (product_1 >> 32) ^ c1 ^ k0,
            product_1 & _MASK,
            (product_0 >> 32) ^ c3 ^ k1,
            product_0 & _MASK,
        )
        k0, k1 = (k0 + _KEY_STEPS[0]) & _MASK, (k1 + _KEY_STEPS[1]) & _MASK
    return c0, c1, c2, c3


def uniform(seed: int, sample: int, bin_index: int, axis: int, row: int) -> float:
    """A number in (0, 1) for one point: the middle of the 2^-32 interval given by the first word of the generator."""
    counter = (sample & _MASK, bin_index & _MASK, axis, row & _MASK)
    word = philox_4x32(counter, (seed & _MASK, (seed >> 32) & _MASK))[0]
    return (word + 0.5) * 2.0**-32
