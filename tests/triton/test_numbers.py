"""Numbers that are passed to kernels so that Triton compiles nothing for their values."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

pytest.importorskip("triton")

import torch
import triton
import triton.language as tl

from roialign.torch.backends import is_interpreted
from roialign.triton.launch import kind_of, launch
from roialign.triton.numbers import plain, plain_bits_of, positive_of

RANDOM = np.exp2(np.random.default_rng(0).uniform(-300, 300, 100)).tolist()
POSITIVE = [1.0, 0.5, 0.25, 1 / 3, 2.0, 16.0, 1e100, sys.float_info.max, sys.float_info.min, math.ulp(0.0), *RANDOM]


def test_the_kind_of_a_number_is_that_of_all() -> None:
    assert {kind_of(plain_bits_of(number)) for number in POSITIVE} == {(False, False, False, True)}
    assert len({kind_of(number) for number in plain(range(-1100, 1100))}) == 1


@pytest.mark.skipif(not is_interpreted(), reason="the kernels are compiled here")
@pytest.mark.usefixtures("interpreter")
def test_positive_numbers_arrive_whole() -> None:
    found = torch.zeros(len(POSITIVE), dtype=torch.float64)
    for index, number in enumerate(POSITIVE):
        launch(number_kernel, (1,), found.device, found[index:], plain_bits_of(number))
    assert found.tolist() == POSITIVE


@triton.jit
def number_kernel(out, code):
    tl.store(out, positive_of(code))
