"""Crowded tiles of gradients to features, whose RoIs are shared out among programs, in Triton's interpreter."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

pytest.importorskip("triton")

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

import roialign
from roialign.torch.backends import is_interpreted
from roialign.torch.triton.tiles import Tiles, most_slots
from roialign.triton import launch, pointwise_features, pointwise_tiles, separable_features, shares

pytestmark = [
    pytest.mark.skipif(not is_interpreted(), reason="the kernels are compiled here: see test_gpu.py"),
    pytest.mark.usefixtures("interpreter"),
]

FEWEST = shares.FEWEST.value


def shared_out(counts: Any, slots: int, at_once: int = 16) -> tuple[int, list[list[int]]]:
    """What the kernel writes: the RoIs of a tile that is not shared, and the row of every slot."""
    numbers, answer = torch.tensor(counts, dtype=torch.int32), torch.full((1 + slots, 4), 77, dtype=torch.int32)
    constants = {"TILES": 8, "AT_ONCE": at_once, "num_warps": 1}
    programs = launch.blocks_of(len(counts), 8)
    launch.launch(shares.shares_kernel, (programs,), numbers.device, numbers, answer, len(counts), slots, **constants)
    (length, *_), *rows = answer.tolist()
    return length, rows


@pytest.mark.parametrize("slots", [1, 2, 3, 7, 20, 64])
@pytest.mark.parametrize("seed", range(4))
def test_every_share_of_a_crowded_tile_has_a_slot(slots: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = (rng.integers(0, 40, 30) * rng.choice([1, 1, 1, 30], 30)).tolist()
    length, rows = shared_out(counts, slots)
    assert length >= FEWEST
    taken = 0
    for tile, count in enumerate(counts):
        if count > length:
            _, _, own, of_each = rows[taken]
            assert rows[taken : taken + own] == [[tile, number, own, of_each] for number in range(own)]
            assert of_each <= length
            assert own * of_each >= count
            taken += own
    assert taken <= slots
    assert [tile for tile, *_ in rows[taken:]] == [shares.NONE.value] * (slots - taken)
    assert shared_out(counts, slots, 64) == (length, rows)


def test_shares_are_as_short_as_slots_allow() -> None:
    assert shared_out([1000, 0, 3, 1000], 253)[0] == FEWEST
    assert 50 <= shared_out([1000, 0, 3, 1000], 42)[0] <= 53  # as two tiles may leave two shares short
    assert {tile for tile, *_ in shared_out([FEWEST, FEWEST], 9)[1]} == {-1}


@pytest.mark.parametrize("tiles", [1, 30])
@pytest.mark.parametrize("rois", [FEWEST + 1, 65, 70, 1000])
def test_more_slots_than_a_gradient_gets_do_not_make_shares_shorter(tiles: int, rois: int) -> None:
    """All RoIs touch all tiles, or all tiles but one."""
    enough = most_slots(tiles, rois)
    for counts in ([rois] * tiles, [FEWEST, *[rois] * (tiles - 1)]):
        length, _ = shared_out(counts, enough)
        assert length == FEWEST
    assert shared_out([rois] * tiles, enough // 2)[0] > FEWEST


def test_shares_divide_the_bits_of_a_tile() -> None:
    """Against Python's own integers, with the highest bit, which is the sign, among them."""
    rng = np.random.default_rng(0)
    words = rng.integers(0, 1 << 32, 40) * (rng.random(40) < 0.1)
    words[:3], words[-1] = (0, (1 << 32) - 1, 1 << 31), 5
    rois = [32 * k + bit for k, word in enumerate(words) for bit in range(32) if int(word) >> bit & 1]
    bits = torch.from_numpy(words.astype(np.uint32).view(np.int32))
    for length in (7, 32, 100):
        found: list[int] = []
        for number in range(launch.blocks_of(len(rois), length)):
            answer = torch.full((length + 1,), -1, dtype=torch.int32)
            launch.launch(rois_kernel, (1,), bits.device, bits, answer, number, length, 40, num_warps=1)
            own = answer.tolist()
            found += own[: own.index(-1)]
            assert len(found) == min((number + 1) * length, len(rois))
        assert found == rois


@triton.jit
def rois_kernel(touched, answer, number, length, words):
    """Write the RoIs of a share of the only tile."""
    tile = tl.cast(0, tl.int64)
    share = shares.Share(tile, number, length, words, tile, tile, words > 0)
    seen = 0
    for first in range(0, words, shares.WORDS):
        bits, seen = shares.bits_of_share(share, touched, first, words, seen)
        roi = shares.next_roi(bits, -1)
        while roi < 32 * shares.WORDS:
            tl.store(answer, 32 * first + roi)
            answer += 1
            roi = shares.next_roi(bits, roi)


def test_rois_are_taken_by_their_rank() -> None:
    """Eight set bits at a time, as a program of position-sensitive bins takes them."""
    rng = np.random.default_rng(1)
    words = rng.integers(0, 1 << 32, 32) * (rng.random(32) < 0.2)
    words[:2], words[-1] = (0, (1 << 32) - 1), 1 << 31
    for own in (words, 0 * words):
        rois = [32 * k + bit for k, word in enumerate(own) for bit in range(32) if int(word) >> bit & 1]
        bits = torch.from_numpy(own.astype(np.uint32).view(np.int32))
        found: list[int] = []
        for first in range(0, len(rois) + 8, 8):
            answer = torch.full((8,), -1, dtype=torch.int32)
            launch.launch(ranks_kernel, (1,), bits.device, bits, answer, first, num_warps=1)
            found += answer.tolist()
        assert found == rois + [32 * 32] * (len(found) - len(rois))


@triton.jit
def ranks_kernel(touched, answer, first):
    """Write eight RoIs of the only tile."""
    bits = tl.load(touched + tl.arange(0, shares.WORDS)).to(tl.uint32, bitcast=True)
    tl.store(answer + tl.arange(0, 8), shares.rois_from(bits, first, 8))


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
    # So few words that there are two rounds of them.
    for module in (shares, separable_features, pointwise_features, pointwise_tiles):
        monkeypatch.setattr(module, "WORDS", tl.constexpr(2))
    right = features_of(backward(gradient, features, rois))
    seen = features_of(backward(gradient, features, rois, backend="triton"))
    torch.testing.assert_close(seen, right, rtol=1e-11, atol=1e-11)
    assert made[0].counts.tolist() == [70]
    assert made[0].slots == most_slots(1, 70)
    assert made[0].shares[0, 0] == FEWEST
    assert made[0].shares[1:11, :2].tolist() == [[0, number] for number in range(9)] + [[-1, made[0].shares[10, 1]]]


def test_maps_of_no_images() -> None:
    """No tiles, and RoIs enough for a look at crowded ones."""
    rois = torch.tensor([[0.0, 0, 0, 2, 2]]).repeat(65, 1)
    gradient, features = torch.ones(65, 256, 1, 1), torch.ones(0, 256, 4, 4)
    found = roialign.roi_align_backward(gradient, features, rois, invalid="zero", backend="triton")
    assert found[0].shape == features.shape
    assert not found[1].any()


def features_of(gradients: Any) -> Tensor:
    return gradients[0] if isinstance(gradients, tuple) else gradients
