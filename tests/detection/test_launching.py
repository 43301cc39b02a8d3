"""Environment variables of launchers such as torchrun."""

from __future__ import annotations

import pytest
import torch

from roialign.detection.processes import launched_processes

GOOD = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("WORLD_SIZE", "two", "WORLD_SIZE: expected the number of processes, got two; torchrun sets"),
        ("RANK", "2", "RANK: expected a whole number from 0 to 1, got 2; torchrun sets"),
        ("RANK", "abc", "RANK: expected a whole number from 0 to 1, got abc"),
        ("RANK", "", "RANK: expected a whole number from 0 to 1, got none"),
        ("MASTER_PORT", "x", "MASTER_PORT: expected a whole number from 0 to 65535, got x"),
        ("MASTER_ADDR", "", "MASTER_ADDR: expected the name of a machine, got none.*unset WORLD_SIZE"),
    ],
)
def test_a_wrong_variable_is_named_and_nothing_waits(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    for name, good in {**GOOD, variable: value}.items():
        monkeypatch.setenv(name, good)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *_: pytest.fail("waits for the others"))
    with pytest.raises(ValueError, match=message), launched_processes(torch.device("cpu")):
        pass
