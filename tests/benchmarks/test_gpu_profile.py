"""benchmarks.gpu profile without a GPU: the table that is made of what Nsight Compute prints."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from benchmarks.gpu import profile

#: What Nsight Compute printed for two kernels of box-test.
KERNELS: list[dict[str, Any]] = [
    {
        "Kernel Name": "taps_kernel",
        "Grid Size": "(1000, 2, 1)",
        "gpu__time_duration.sum": "5.856000",
        "launch__registers_per_thread": "66",
        "sm__warps_active.avg.per_cycle_active": "12.4",
        "smsp__inst_executed.sum": "2,090,000",
        "smsp__issue_active.avg.pct_of_peak_sustained_active": "59.8",
        "l1tex__throughput.avg.pct_of_peak_sustained_active": "9.9",
        "lts__throughput.avg.pct_of_peak_sustained_elapsed": "7.2",
        "dram__cycles_active.avg.pct_of_peak_sustained_elapsed": "0.2",
        f"{profile.STALL}wait{profile.OF_STALL}": "1.5",
        f"{profile.STALL}long_scoreboard{profile.OF_STALL}": "0.3",
        f"{profile.STALL}not_selected{profile.OF_STALL}": "9.9",
    },
]
KERNELS.append(KERNELS[0] | {"Kernel Name": "forward_kernel", f"{profile.STALL}wait{profile.OF_STALL}": "0.1"})


def printed() -> str:
    """The lines of a run: those of the profiler and of the program, then the table with a row of units."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(KERNELS[0]), quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows([dict.fromkeys(KERNELS[0], "unit"), *KERNELS])
    return "==PROF== Connected to process 1\nbox-test forward\n" + text.getvalue()


def test_the_table() -> None:
    lines = profile.render(printed()).splitlines()
    assert len(lines) == 4
    figures = "5.9 | 66.0 | 12.4 | 2.1 | 59.8 | 9.9 | 7.2 | 0.2"
    assert lines[2] == f"| taps_kernel | (1000, 2, 1) | {figures} | wait 1.5, long_scoreboard 0.3 |"
    assert lines[3].endswith("| long_scoreboard 0.3, wait 0.1 |")


def test_without_the_profiler(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(profile, "program", lambda _: None)
    assert profile.main([]) == 1
    assert "ncu is not here" in capsys.readouterr().err


def test_an_unknown_cell(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        profile.main(["--cells", "box-test forward NHWC fp16 S2, box-test sideways"])
    assert "no cell is named 'box-test sideways'" in capsys.readouterr().err


def test_a_profiler_that_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Its own error is shown. Here, `false` stands in for it."""
    monkeypatch.setattr(profile, "program", lambda _: "false")
    assert profile.main(["--cells", "c4 forward NHWC fp32 S2"]) == 1
    assert "ncu ended with code 1" in capsys.readouterr().err
