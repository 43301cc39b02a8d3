"""Output that is hard to print or write: full devices, closed pipes, other encodings, folders without access."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from roialign.commands.terminal import progress_bar
from tests.commands.invoked import invoke
from tests.tables.paths import BOXES, PHOTOGRAPH


def test_a_bar_counts_the_inputs_on_a_terminal() -> None:
    text = io.StringIO()
    with progress_bar(Console(file=text, force_terminal=True, width=80), 3, "Pooling") as done:
        for _ in range(3):
            done()
    assert "3/3" in text.getvalue()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device that is always full is part of Linux only")
@pytest.mark.parametrize("arguments", [("info",), ("--version",), ("extract", PHOTOGRAPH, "--boxes", BOXES)])
def test_output_that_cannot_be_written_is_one_error(tmp_path: Path, arguments: tuple[object, ...]) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        program = [sys.executable, "-m", "roialign", *map(str, arguments)]
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: output cannot be written: No space left on device\n"


@pytest.mark.parametrize("is_caught", [False, True])
@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("BrokenPipeError(32, 'Broken pipe')", "error: Broken pipe\n"),
        ("ConnectionRefusedError(111, 'Connection refused')", "error: Connection refused\n"),
        ("OSError(24, 'Too many open files', 'a.png')", "error: a.png: Too many open files\n"),
        ("TimeoutError('timed out')", "error: timed out\n"),
    ],
)
def test_an_error_of_another_file_is_not_called_one_of_the_output(error: str, message: str, is_caught: bool) -> None:
    """Some commands catch such an error and print it, others do not."""
    script = f"""
import sys
from rich.console import Console
import roialign.commands.app as application
from roialign.commands.main import main
from roialign.commands.terminal import fails
for command in application.app.registered_commands:
    if command.name == "info":
        def info():
            try:
                raise {error}
            except OSError as error:
                if {is_caught}:
                    raise fails(Console(stderr=True), error) from error
                raise
        command.callback = info
sys.argv = ["roialign", "info"]
main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", message)


@pytest.mark.parametrize("arguments", [("info",), ("--version",), ("extract", PHOTOGRAPH, "--boxes", BOXES)])
def test_nothing_is_said_if_nobody_reads_the_output(tmp_path: Path, arguments: tuple[object, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    program = [sys.executable, "-m", "roialign", *map(str, arguments)]
    done = subprocess.run(program, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, cwd=tmp_path)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("encoding", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "cp1252"}])
def test_what_the_terminal_cannot_encode_is_escaped(tmp_path: Path, encoding: dict[str, str]) -> None:
    name = "caf\u00e9 \u65e5\u672c.png"
    shutil.copy(PHOTOGRAPH, tmp_path / name)
    (tmp_path / "boxes.json").write_text("[[1, 2, 30, 40]]")
    program = [sys.executable, "-m", "roialign", "extract", name, "missing \u65e5.png", "--boxes", "boxes.json"]
    environment = {**os.environ, **encoding}
    done = subprocess.run(program, capture_output=True, check=False, cwd=tmp_path, env=environment)
    said = done.stdout + done.stderr
    assert b"Traceback" not in said
    assert b"missing \\u65e5.png" in said


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="a folder in which nobody can make files")
@pytest.mark.parametrize(
    ("command", "option", "name"),
    [
        (("export",), "--out", "model.onnx"),
        (("evaluate", "--data", "nowhere"), "--out", "results.json"),
        (("evaluate", "--data", "nowhere"), "--metrics", "metrics.json"),
        (("evaluate", "--data", "nowhere"), "--dota-out", "task1"),
        (("train", "--data", "nowhere"), "--out", "run"),
    ],
)
def test_an_output_that_cannot_be_written_is_said_before_the_work(
    command: tuple[str, ...], option: str, name: str
) -> None:
    weights = () if command[0] == "train" else ("--weights", "nowhere")
    result = invoke(*command, *weights, option, f"/proc/self/{name}")
    assert result.exit_code == 2
    assert (
        f"Invalid value for {option}: /proc/self/{name} cannot be written: No such file or directory" in result.stderr
    )


@pytest.mark.skipif(sys.platform == "win32", reason="a folder in use cannot be deleted on Windows")
def test_a_deleted_current_folder_is_an_error(tmp_path: Path) -> None:
    program = f'mkdir gone && cd gone && rmdir ../gone && "{sys.executable}" -m roialign info'
    done = subprocess.run(["sh", "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: the current folder has been deleted; change to another one"
