"""Torch's threads, and processes: who works on a call, data loaders, distributed training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

import roialign
from roialign import _core
from roialign.torch.cpu import threads
from tests.tables.paths import ROOT
from tests.tables.python import run_python
from tests.tables.tensors import SCALES, multiscale, pyramid, rois


@pytest.fixture
def _two_threads() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def large_call() -> torch.Tensor:
    features = torch.linspace(0, 1, 64 * 40 * 50).reshape(1, 64, 40, 50).sin()
    boxes = torch.rand(200, 4, generator=torch.Generator().manual_seed(0)) * 20
    boxes[:, 2:] += 12
    return roialign.roi_align(features, [boxes], 7)


@pytest.mark.usefixtures("_two_threads")
def test_the_threads_are_those_of_torchs_openmp() -> None:
    """The address lies in the OpenMP library that torch's own library is linked with, mapped in this process."""
    address = threads.openmp_address()
    regions = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    for region in regions:
        begin, end = (int(number, 16) for number in region[0].split("-"))
        if begin <= address < end:
            assert any(name in Path(region[-1]).name for name in ("libgomp", "libomp", "libiomp"))
            break
    else:
        raise AssertionError(f"GOMP_parallel at {address:#x} is in no mapped library")
    large_call()
    assert _core.last_worker_count() in (1, 2)


def test_a_script_that_ends_with_a_gradient_pending_is_silent() -> None:
    """Such a tensor is never freed, and neither is what the gradient needs."""
    printed = run_python(
        """
        import os, torch, roialign
        os.dup2(1, 2)  # errors are what this is about
        features = torch.rand(1, 8, 16, 16, requires_grad=True)
        out = roialign.roi_align(features, torch.tensor([[0, 1.0, 1, 9, 9]]), 7)
        """
    )
    assert printed == ""


@pytest.mark.usefixtures("_two_threads")
def test_two_threads_work_between_torchs_operators_and_no_more_are_made() -> None:
    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    convolution = torch.nn.Conv2d(8, 8, 3)
    with torch.no_grad():
        for _ in range(1000):  # on a busy machine the second thread may come when all is done
            convolution(torch.rand(1, 8, 64, 64)).sum()
            before = threads()
            large_call().sum()
            assert threads() == before
            if _core.last_worker_count() == 2:
                return
    raise AssertionError("no call was ever shared")


def test_torchs_number_of_threads_counts_and_changes_no_bit() -> None:
    before, answers = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            answers.append(large_call())
            assert _core.last_worker_count() <= count
    finally:
        torch.set_num_threads(before)
    assert torch.equal(answers[0], answers[1])
    assert torch.equal(answers[0], answers[2])


@pytest.mark.usefixtures("_two_threads")
def test_a_small_call_wakes_nobody() -> None:
    small, large = torch.empty(9, 4, 2, 2), torch.empty(threads.SHARED_ELEMENTS)
    assert threads.team(small) is threads._team(1)
    assert threads.team(large) is threads.team(large[2:], small) is threads._team(torch.get_num_threads())


def test_without_an_openmp_library_there_is_the_pool_of_our_own() -> None:
    run_python(
        """
        import torch, roialign
        from roialign import _core
        from roialign.torch.cpu import threads
        torch.set_num_threads(2)
        features, boxes = torch.rand(1, 64, 40, 50), torch.tensor([[0, 1.0, 1, 30, 30]]).repeat(200, 1)
        right = roialign.roi_align(features, boxes, 7)
        threads.LIBRARIES.clear()
        threads.openmp_address.cache_clear()
        threads._team.cache_clear()
        assert threads.openmp_address() == 0
        assert torch.equal(roialign.roi_align(features, boxes, 7), right)
        """
    )


def test_several_python_threads_at_once() -> None:
    from concurrent.futures import ThreadPoolExecutor

    right = large_call()
    with ThreadPoolExecutor(4) as executor:
        for answer in executor.map(lambda _: large_call(), range(16)):
            assert torch.equal(answer, right)


LOADER = """
import torch, roialign
from torch.utils.data import DataLoader, Dataset

def crops(index):
    features = torch.linspace(0, 1, 16 * 40 * 50).reshape(1, 16, 40, 50).add(index).sin()
    boxes = torch.tensor([[0, 1.0 + index, 2, 30, 35]]).repeat(100, 1)
    return roialign.roi_align(features, boxes, 7)[::50]

class Crops(Dataset):
    def __len__(self):
        return 6
    def __getitem__(self, index):
        return crops(index)

if __name__ == "__main__":
    torch.rand(200, 200) @ torch.rand(200, 200)
    right = torch.stack([crops(index) for index in range(6)])  # the parent's threads exist
    stays = {method!r} == "spawn"  # such a process loads torch first
    loader = DataLoader(Crops(), 3, num_workers=2, multiprocessing_context={method!r}, persistent_workers=stays)
    for _ in range(2):
        assert torch.equal(torch.cat(list(loader)), right)
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_data_loader_workers(method: str, tmp_path: Path) -> None:
    script = tmp_path / "loader.py"
    script.write_text(LOADER.format(method=method))
    run_python(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')")


def test_a_child_works_whose_parent_used_only_threads_of_torch() -> None:
    """A child that is forked after that has an OpenMP runtime without threads, which it must not use."""
    run_python(
        """
        import os, torch, roialign
        torch.set_num_threads(2)
        features = torch.linspace(0, 1, 64 * 40 * 50).reshape(1, 64, 40, 50).sin()
        boxes = torch.arange(0, 20, 0.1).reshape(-1, 1) + torch.tensor([0.0, 1.0, 14.0, 16.0])
        features.clone().mul_(2.0).add_(1.0).sum()  # large enough for both threads
        def answer():
            return roialign.roi_align(features, [boxes], 7).numpy().tobytes()
        read, write = os.pipe()
        if os.fork() == 0:
            found = answer()
            with os.fdopen(write, "wb") as pipe:
                pipe.write(found)
            os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            found = pipe.read()
        os.wait()
        assert found == answer()
        """
    )


DISTRIBUTED = """
import sys, torch
sys.path.insert(0, {tests!r})
import torch.distributed as dist
import torch.multiprocessing as processes
from torch.nn.parallel import DistributedDataParallel
from tests.tables.tensors import SCALES, pyramid, rois
from roialign.torch import MultiScaleRoIAlign

class Head(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.convolution = torch.nn.Conv2d(3, 4, 1, dtype=torch.float64)
        self.shift = torch.nn.Parameter(torch.tensor([0, 0.3, -0.2, 0.5, 0.1], dtype=torch.float64))
        self.pool = MultiScaleRoIAlign(2, SCALES, canonical_size=20, canonical_level=3)
    def forward(self, maps, boxes):
        return self.pool([self.convolution(level) for level in maps], boxes + self.shift).square().sum(dim=(1, 2, 3))

def gradients(model, rank):
    boxes = rois()
    chosen = boxes if rank is None else boxes[boxes[:, 0] == rank]
    model(pyramid(), chosen).sum().backward()
    return [parameter.grad for parameter in model.parameters()]

def work(rank, file):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method="file://" + file, rank=rank, world_size=2)
    seen = gradients(DistributedDataParallel(Head()), rank)
    for gradient, right in zip(seen, gradients(Head(), None), strict=True):
        torch.testing.assert_close(2 * gradient, right, rtol=1e-12, atol=1e-12)
        assert right.any()
    dist.destroy_process_group()

if __name__ == "__main__":
    processes.spawn(work, args=({file!r},), nprocs=2)
"""


def test_distributed_training_gives_the_gradients_of_one_process(tmp_path: Path) -> None:
    """Two processes, each with the boxes of one image; the mean of their gradients is half of the whole."""
    script = tmp_path / "distributed.py"
    script.write_text(DISTRIBUTED.format(tests=str(ROOT), file=str(tmp_path / "meeting")))
    run_python(f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')")


# What an import loads


def test_torch_is_loaded_by_a_tensor_only() -> None:
    run_python(
        """
        import sys
        import numpy as np, roialign
        assert not [name for name in sys.modules if name.partition(".")[0] == "torch"]
        roialign.roi_align(np.ones((1, 1, 4, 4)), np.array([[0, 0, 0, 3, 3]]), 2)
        assert not [name for name in sys.modules if name.partition(".")[0] == "torch" or ".torch" in name]
        import torch
        assert "roialign.torch" not in sys.modules
        roialign.roi_align(torch.ones(1, 1, 4, 4), torch.tensor([[0, 0, 0, 3, 3]]), 2)
        assert "roialign.torch" in sys.modules
        assert "torch._dynamo" not in sys.modules, "which takes seconds to load"
        """
    )


def test_the_reference_on_tensors_needs_no_compiled_core() -> None:
    run_python(
        """
        import sys, torch, roialign
        roialign.roi_align(torch.ones(1, 1, 4, 4), torch.tensor([[0, 0, 0, 3, 3]]), 2, backend="reference")
        assert "roialign._core" not in sys.modules
        """
    )


def test_levels_are_used_in_the_distributed_test() -> None:
    """Both levels, and both images: otherwise a gradient of zeros would pass."""
    levels = roialign.fpn_levels(rois(), SCALES, canonical_size=20, canonical_level=3)
    assert set(levels.tolist()) == {0, 1}
    assert multiscale(pyramid(), rois()).any()
