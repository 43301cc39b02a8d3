"""Crowded tiles of gradients to features, whose RoIs are shared out among programs, in Triton's interpreter."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

pytest.importorskip("triton")

import numpy as np
import torch
import triton.language as tl
from torch import Tensor

import roialign
from roialign.torch.backends import is_interpreted
from roialign.torch.triton.tiles import Tiles
from roialign.triton import launch, pointwise_features, separable, shares

pytestmark = [
    pytest.mark.skipif(not is_interpreted(), reason="the kernels are compiled here: see test_gpu.py"),
    pytest.mark.usefixtures("interpreter"),
]

FEWEST = shares.FEWEST.value


def shared_out(counts: Any, slots: int, tiles_at_once: int = 8) -> tuple[int, list[int], list[int]]:
    """What the kernel writes: RoIs of a share, and every slot's tile and that tile's first slot."""
    numbers, answer = torch.tensor(counts, dtype=torch.int32), torch.full((1 + 2 * slots,), 77, dtype=torch.int32)
    constants = {"TILES": tiles_at_once, "num_warps": 1}
    launch.launch(shares.shares_kernel, (1,), numbers.device, numbers, answer, len(counts), slots, **constants)
    length, *rest = answer.tolist()
    return length, rest[::2], rest[1::2]


@pytest.mark.parametrize("slots", [1, 2, 3, 7, 20, 64])
@pytest.mark.parametrize("seed", range(4))
def test_every_share_of_a_crowded_tile_has_a_slot(slots: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = (rng.integers(0, 40, 30) * rng.choice([1, 1, 1, 30], 30)).tolist()
    length, tiles, first = shared_out(counts, slots)
    assert length >= FEWEST
    taken = 0
    for tile, count in enumerate(counts):
        if count > length:
            own = -(-count // length)
            assert tiles[taken : taken + own] == [tile] * own
            assert first[taken : taken + own] == [taken] * own
            taken += own
    assert taken <= slots
    assert tiles[taken:] == [shares.NONE.value] * (slots - taken)


def test_shares_are_as_short_as_slots_allow() -> None:
    assert shared_out([1000, 0, 3, 1000], 66)[0] == FEWEST
    assert shared_out([1000, 0, 3, 1000], 42)[0] == 50  # as two tiles may leave two shares short
    assert shared_out([FEWEST, FEWEST], 9)[1] == [-1] * 9


def test_bits_are_counted_and_found() -> None:
    """Against Python's own integers, with the highest bit, which is the sign, among them."""
    rng = np.random.default_rng(0)
    words = rng.integers(0, 1 << 32, (5, 3)) & rng.integers(0, 1 << 32, (5, 3))
    words[0], words[1, 0] = 0, (1 << 32) - 1
    counts = torch.empty(5, dtype=torch.int32)
    bits = torch.from_numpy(words.astype(np.uint32).view(np.int32))
    launch.launch(shares.count_kernel, (2,), bits.device, bits, counts, 5, 3, TILES=4, num_warps=1)
    assert counts.tolist() == [sum(int(word).bit_count() for word in row) for row in words]


BACKWARD: dict[str, tuple[Any, tuple[int, int]]] = {
    "avg": (partial(roialign.roi_align_backward, sampling_ratio=1, need=("features",)), (1, 1)),
    "max": (partial(roialign.roi_align_backward, sampling_ratio=1, need=("features",), mode="max"), (1, 1)),
    "position-sensitive": (partial(roialign.ps_roi_pool_backward), (1, 2)),
}


@pytest.mark.parametrize(
    ("kind", "channels_last"),
    [
        pytest.param("avg", False, marks=pytest.mark.slow),
        ("avg", True),
        pytest.param("max", False, marks=pytest.mark.slow),
        pytest.param("position-sensitive", False, marks=pytest.mark.slow),
    ],
)
def test_a_crowded_tile(kind: str, channels_last: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """RoIs on top of each other: the gradient of the core."""
    backward, bins = BACKWARD[kind]
    generator = torch.Generator().manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    features = torch.randn(1, 2, 4, 4, generator=generator, dtype=torch.float64).contiguous(memory_format=layout)
    low = torch.rand(70, 2, generator=generator)
    rois = torch.cat([torch.zeros(70, 1), low, low + 2.5], 1).double()
    channels = 1 if kind == "position-sensitive" else 2
    gradient = torch.randn(70, channels, *bins, generator=generator, dtype=torch.float64)

    made: list[Tiles] = []
    make = Tiles.of
    monkeypatch.setattr(Tiles, "of", lambda *arguments: made.append(make(*arguments)) or made[-1])
    monkeypatch.setattr(launch, "EXTRA", 64.0)  # of tensors that are small beside a slot
    for module in (shares, separable, pointwise_features):  # so few words that there are two rounds of them
        monkeypatch.setattr(module, "WORDS", tl.constexpr(2))
    right = features_of(backward(gradient, features, rois))
    seen = features_of(backward(gradient, features, rois, backend="triton"))
    torch.testing.assert_close(seen, right, rtol=1e-11, atol=1e-11)
    assert made[0].shares[1:9].tolist() == [0, 0, 0, 0, 0, 0, -1, made[0].shares[8]]
    assert made[0].shares[0] == shares.FEWEST.value


def test_maps_of_no_images() -> None:
    """No tiles, and RoIs enough for a look at crowded ones."""
    rois = torch.tensor([[0.0, 0, 0, 2, 2]]).repeat(65, 1)
    gradient, features = torch.ones(65, 256, 1, 1), torch.ones(0, 256, 4, 4)
    found = roialign.roi_align_backward(gradient, features, rois, invalid="zero", backend="triton")
    assert found[0].shape == features.shape
    assert not found[1].any()


def features_of(gradients: Any) -> Tensor:
    return gradients[0] if isinstance(gradients, tuple) else gradients
