"""`roialign train` as a user sees it: what it says, how it is stopped, continued and made longer."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from rich.console import Console
from typer.testing import Result

from roialign.commands.terminal import progress_bar
from roialign.commands.training_report import Reporter, stopped_by_interrupt
from roialign.detection import load_model
from roialign.detection.training import Cut, Measured, Saved, Started, Stepped
from roialign.detection.training.checkpoint import CHECKPOINT_FILE
from tests.commands.invoked import invoke
from tests.detection.small_training import log_of, training_set, write_training_scenes
from tests.tables.signals import hear_interrupt

#: A run of few and small steps.
SMALL = ("--batch-size", "1", "--warmup", "1", "--model", "faster-rcnn")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_training_scenes(folder)
    return folder


def _train(data: Path, run: Path, *more: object) -> Result:
    return invoke("train", "--data", data, "--out", run, *SMALL, *more)


LINE = r"step {} of 3: loss \d+\.\d{{3}} \(objectness .*, classifier \d+\.\d{{3}}.*\), \d+\.\d\d s per step{}"


def test_the_command_says_what_it_does_and_continues(data: Path, tmp_path: Path) -> None:
    result = _train(data, tmp_path / "run", "--iterations", 3, "--print-every", 2)
    assert result.exit_code == 0, result.output
    why, *lines = result.stderr.splitlines()
    assert why.startswith(f"average precision is not measured: {data}: expected val/annotations.json")
    assert len(lines) == 3
    for line, number in zip(lines, (1, 2, 3), strict=True):
        assert re.fullmatch(LINE.format(number, r", \d+ s left" if number < 3 else ""), line), line
    run = tmp_path / "run"
    assert result.stdout == f"wrote {run}: use it with `roialign detect IMAGE... --weights {run} --out pictures`\n"
    assert load_model(tmp_path / "run")[1].classes == tuple(training_set(data).class_names)

    again = _train(data, tmp_path / "run", "--iterations", 3)
    assert again.exit_code == 0
    assert again.stderr.splitlines()[1:] == [
        "all 3 steps are done already; give a larger --iterations to extend the run"
    ]

    longer = _train(data, tmp_path / "run", "--iterations", 4)
    assert longer.exit_code == 0, longer.output
    assert longer.stderr.splitlines()[1] == "resuming from step 3 of 4"
    assert [row["iteration"] for row in log_of(tmp_path / "run")] == ["1", "2", "3", "4"]


def test_settings_that_differ_are_named_by_their_options(data: Path, tmp_path: Path) -> None:
    assert _train(data, tmp_path / "run", "--iterations", 1).exit_code == 0
    more = ("--pooler", "align", "--amp", "bfloat16", "--size", "full", "--learning-rate", 0.1)
    result = _train(data, tmp_path / "run", "--iterations", 1, *more)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()[1:]
    assert line == (
        f"error: {tmp_path / 'run'}: the run was started with other settings: --learning-rate was 0.001, not 0.1; "
        "--amp was off, not bfloat16; --pooler was exact, not align; --size was different. "
        "To resume it, give these settings; to start a new run, give another --out"
    )


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--learning-rate", 0, "--learning-rate: expected more than 0, got 0.0"),
        ("--clip", "nan", "--clip: expected a finite number, got nan"),
        ("--pooler", "foo", "--pooler: expected one of exact, "),
    ],
)
def test_a_wrong_setting_is_named_by_its_option(
    option: str, value: object, message: str, data: Path, tmp_path: Path
) -> None:
    result = _train(data, tmp_path / "run", option, value)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith(f"error: {message}")


def test_average_precision_is_said_and_logged(data: Path, tmp_path: Path) -> None:
    options = ("--iterations", 2, "--val-split", "train", "--evaluate-every", 1)
    result = _train(data, tmp_path / "run", *options)
    assert result.exit_code == 0, result.output
    next_command = f"roialign evaluate --weights {tmp_path / 'run'} --data {data} --split train"
    assert result.stdout.endswith(f"evaluate it with `{next_command}`\n")
    lines = [line for line in result.stderr.splitlines() if "average precision" in line]
    pattern = r"step {} of 2: average precision on 4 images: box \d+\.\d \(AP50 \d+\.\d\)"
    assert len(lines) == 2
    for number, line in enumerate(lines, start=1):
        assert re.fullmatch(pattern.format(number), line), line
    assert all(0 <= float(row["box_AP50"]) <= 1 for row in log_of(tmp_path / "run"))
    missing = _train(data, tmp_path / "other", *options, "--val-split", "none")
    assert missing.exit_code == 1
    assert "error: " in missing.stderr
    assert "expected none/annotations.json" in missing.stderr
    assert not (tmp_path / "other").exists()


def test_bad_rows_of_a_set_are_an_error_each(data: Path, tmp_path: Path) -> None:
    """The others are learnt from, unless the set is to be as it should."""
    shutil.copytree(data, tmp_path / "scenes")
    path = tmp_path / "scenes/train/annotations.json"
    content = json.loads(path.read_text())
    for row in content["annotations"][:2]:
        row["iscrowd"] = 7
    path.write_text(json.dumps(content))
    lines = [f"error: {path}: annotations[{row}]: iscrowd: expected 0 or 1, got 7" for row in range(2)]
    result = _train(tmp_path / "scenes", tmp_path / "run", "--iterations", 1)
    assert (result.exit_code, result.stderr.splitlines()[:2]) == (1, lines)
    assert result.stderr.splitlines()[-1] == "2 problems"
    assert (tmp_path / "run/model.pt").exists()
    refused = _train(tmp_path / "scenes", tmp_path / "other", "--strict")
    assert refused.exit_code == 1
    assert refused.stderr.splitlines() == [*lines, f"error: 2 rows of {path} cannot be used"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="for a PyTorch without CUDA")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_device_that_is_not_there_is_named(device: str, data: Path, tmp_path: Path) -> None:
    result = _train(data, tmp_path / "run", "--device", device)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert re.fullmatch(rf'error: device: \'{device}\' needs a CUDA device, but .*; use "cpu"', line), line
    assert not (tmp_path / "run").exists()


def test_the_command_names_a_missing_set(tmp_path: Path) -> None:
    result = _train(tmp_path, tmp_path / "run")
    assert result.exit_code == 1
    assert "train/annotations.json" in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "code", "why"),
    [(signal.SIGINT, 130, "press Ctrl-C again to stop at once"), (signal.SIGTERM, 143, "SIGTERM was received")],
)
def test_a_signal_ends_after_a_step_that_is_kept(
    data: Path, tmp_path: Path, sent: signal.Signals, code: int, why: str
) -> None:
    """And the run that was stopped ends as one that was not."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "roialign", "train", "--data", str(data), *SMALL, "--iterations", "6"]
    words += ["--print-every", "1", "--workers", "1"]
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    with subprocess.Popen(
        [*words, "--out", str(stopped)],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
        preexec_fn=hear_interrupt,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("step 2 "):
                os.killpg(process.pid, sent)  # as a terminal or a scheduler does: every process of the group gets it
                break
        rest = process.stderr.read()
    assert process.returncode == code, rest
    step = torch.load(stopped / CHECKPOINT_FILE, weights_only=True)["iteration"]
    assert step in (2, 3)
    *_, asked, last = [line for line in rest.splitlines() if "step 3 " not in line]
    assert asked == f"stopping after this step; {why}"
    assert (
        last == f"stopped after step {step}; {stopped} has a checkpoint of this step; rerun the same command to resume"
    )
    for run, said in ((stopped, f"resuming from step {step} of 6"), (whole, "")):
        again = [*words, "--out", str(run)]
        done = subprocess.run(again, stderr=subprocess.PIPE, text=True, env=environment, check=True)
        assert said in done.stderr
    assert log_of(stopped) == log_of(whole)
    expected, got = load_model(whole)[0].state_dict(), load_model(stopped)[0].state_dict()
    assert all(torch.equal(got[name], expected[name]) for name in expected)


@pytest.fixture
def heard_interrupt() -> Iterator[None]:
    """As in a terminal: a process that a shell has put into the background is deaf to Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard_interrupt")
def test_ctrl_c_twice_stops_at_once() -> None:
    console = Console(file=io.StringIO())
    before = signal.getsignal(signal.SIGINT)
    with stopped_by_interrupt(console, alone=True) as stop:
        assert not stop()
        signal.raise_signal(signal.SIGINT)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    with stopped_by_interrupt(console, alone=True) as stop:
        signal.raise_signal(signal.SIGTERM)
        assert stop()
        assert stop.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with stopped_by_interrupt(console, alone=False) as stop, pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.usefixtures("heard_interrupt")
def test_a_process_in_the_background_stays_deaf_to_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with stopped_by_interrupt(Console(file=io.StringIO()), alone=True) as stop:
        signal.raise_signal(signal.SIGINT)
        assert not stop()
        signal.raise_signal(signal.SIGTERM)
        assert stop()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def _reporter(every: int, times: list[float]) -> tuple[Reporter, Callable[[], list[str]]]:
    text = io.StringIO()
    console = Console(file=text, width=200)
    with progress_bar(console, 12, "Training") as advance:
        reporter = Reporter(console, advance, every, clock=lambda: times.pop(0))
    return reporter, lambda: text.getvalue().splitlines()


def test_what_a_run_that_stops_at_once_keeps() -> None:
    reporter, _ = _reporter(100, [0.0, 1.0])
    for event, expected in (
        (Started(0, 9), "stopped before the first checkpoint; nothing is saved"),
        (Stepped(1, {}), "stopped before the first checkpoint; nothing is saved"),
        (Saved(1), "stopped after step 1; run has a checkpoint of this step; rerun the same command to resume"),
        (Stepped(2, {}), "stopped after step 2; run has a checkpoint of step 1; rerun the same command to resume"),
    ):
        reporter(event)
        assert reporter.kept_text(Path("run")) == expected


def test_cutting_into_patches_is_told_every_few_seconds() -> None:
    reporter, lines = _reporter(2, [10.0, 14.0, 15.0, 19.0, 20.5])
    for done in range(1, 6):
        reporter(Cut(done, 5))
    assert lines() == ["cut 3 of 5 patches", "cut 5 of 5 patches"]


def test_the_time_left_counts_all_that_a_run_does_and_the_steps_alone_are_timed() -> None:
    # The clock is read at the start, at every line, and after every measurement.
    reporter, lines = _reporter(2, [0.0, 1.0, 3.0, 103.0, 105.0, 107.0])
    reporter(Started(4, 12))
    for step in range(5, 7):
        reporter(Stepped(step, {"boxes": 0.5}))
    figures = {"images": 1, "box": {"AP": 0.25, "AP50": None}}
    reporter(Measured(6, figures))
    for step in range(7, 9):
        reporter(Stepped(step, {"boxes": 0.5}))
    assert lines() == [
        "resuming from step 4 of 12",
        "step 5 of 12: loss 0.500 (boxes 0.500), 1.00 s per step, 7 s left",
        "step 6 of 12: loss 0.500 (boxes 0.500), 2.00 s per step, 9 s left",
        "step 6 of 12: average precision on 1 image: box 25.0 (AP50 -)",
        "step 8 of 12: loss 0.500 (boxes 0.500), 1.00 s per step, 1 min 45 s left",
    ]


def test_a_loss_that_rounds_to_zero_has_no_sign() -> None:
    reporter, lines = _reporter(1, [0.0, 1.0, 2.0, 3.0])
    reporter(Started(0, 1))
    reporter(Stepped(1, {"loss_mask": -0.0001}))
    assert "loss 0.000 (mask 0.000)" in lines()[-1]


@pytest.mark.parametrize("rank", ["", "3"])
def test_a_single_process_says_what_it_does_whatever_its_rank(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: str
) -> None:
    """Some schedulers set RANK without WORLD_SIZE."""
    monkeypatch.setenv("RANK", rank)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert "step 1 of 1: loss" in _train(data, tmp_path / "run", "--iterations", 1).stderr
