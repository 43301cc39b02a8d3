"""Output that is hard to print or write: full devices, closed pipes, other encodings, folders without access."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from roialign.commands.tables import new_table, print_table
from roialign.commands.terminal import progress_bar
from roialign.detection import SceneSettings, write_scenes
from tests.commands.invoked import invoke
from tests.tables.paths import BOXES, PHOTOGRAPH


def test_a_bar_counts_the_inputs_on_a_terminal() -> None:
    text = io.StringIO()
    with progress_bar(Console(file=text, force_terminal=True, width=80), 3, "Pooling") as done:
        for _ in range(3):
            done()
    assert "3/3" in text.getvalue()


def test_without_a_terminal_the_time_left_is_unknown_before_the_first_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roialign.commands.terminal.SECONDS_PER_LINE", 0.0)
    text = io.StringIO()
    with progress_bar(Console(file=text), 3, "Extracting", unit="images") as done:
        done(0)
        done(1)
        done(-1)
    first, second, third = text.getvalue().splitlines()
    assert first == third == "0 of 3 images"
    assert second.startswith("1 of 3 images, ")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device that is always full is part of Linux only")
@pytest.mark.parametrize("columns", [20, 40, 60, 80, 500])
def test_tables_show_all_numbers_in_a_terminal_of_any_width(columns: int) -> None:
    output = io.StringIO()
    table = new_table("Boxes", ("row", "image", "x1", "area small", ""), texts=("image", ""))
    table.add_row("0", "photographs/of/a/long/name.png", "176.512", "1.23457e+06", "cat")
    print_table(Console(file=output, width=columns), table)
    shown = output.getvalue()
    assert "…" not in shown
    assert all(word in shown for word in ("row", "image", "x1", "area", "small", "176.512", "1.23457e+06", "cat"))
    longest = max(map(len, shown.splitlines()))
    assert longest <= max(columns, 48)


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


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device that is always full is part of Linux only")
@pytest.mark.parametrize(
    ("error", "last_line"),
    [
        ("RuntimeError('a fault')", "RuntimeError: a fault"),
        ("FileNotFoundError(2, 'No such file or directory', 'a.pt')", "error: a.pt: No such file or directory"),
    ],
)
def test_an_error_is_said_also_if_the_output_cannot_be_written(error: str, last_line: str) -> None:
    script = f"""
import sys
import roialign.commands.main as command
def run():
    print("output", flush=True)
    raise {error}
command._run = run
command.main()
"""
    with open("/dev/full", "w", encoding="utf-8") as full:
        program = [sys.executable, "-c", script]
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == last_line


@pytest.mark.parametrize("arguments", [("info",), ("--version",), ("extract", PHOTOGRAPH, "--boxes", BOXES)])
def test_nothing_is_said_if_nobody_reads_the_output(tmp_path: Path, arguments: tuple[object, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    program = [sys.executable, "-m", "roialign", *map(str, arguments)]
    done = subprocess.run(program, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, cwd=tmp_path)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def _closed_pipe() -> int:
    """The end of a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def _full_device() -> int:
    return os.open("/dev/full", os.O_WRONLY)


#: Commands that print their progress or a problem to standard error.
TRAIN = ("train", "--data", "scenes", "--iterations", 2, "--batch-size", 1, "--model", "faster-rcnn")
EXTRACT = ("extract", PHOTOGRAPH, "broken.png", "--boxes", "grid:2x2", "--backbone", "pixels", "--format", "npz")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device that is always full is part of Linux only")
@pytest.mark.parametrize(
    ("arguments", "make", "exit_code", "file"),
    [
        (TRAIN, _closed_pipe, 0, "checkpoint.pt"),
        (EXTRACT, _closed_pipe, 1, "features-00000-of-00001.npz"),
        (EXTRACT, _full_device, 1, "features-00000-of-00001.npz"),
    ],
)
def test_a_job_whose_messages_cannot_be_written_is_done(
    arguments: tuple[object, ...], make: Callable[[], int], exit_code: int, file: str, tmp_path: Path
) -> None:
    write_scenes(tmp_path / "scenes", {"train": 2}, SceneSettings(image_size=64, objects=(1, 2)))
    (tmp_path / "broken.png").write_text("no image")
    program = [sys.executable, "-m", "roialign", *map(str, arguments), "--out", "out"]
    errors = make()
    done = subprocess.run(program, stdout=subprocess.PIPE, stderr=errors, text=True, check=False, cwd=tmp_path)
    os.close(errors)
    assert done.returncode == exit_code
    assert done.stdout.startswith("wrote out: ")
    assert (tmp_path / "out" / file).exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device that is always full is part of Linux only")
def test_files_are_written_also_if_the_output_cannot_be(tmp_path: Path) -> None:
    """The plot is drawn after a table has been printed. A problem is said beside the error."""
    program = ["extract", PHOTOGRAPH, "broken.png", "--boxes", BOXES, "--out", "out.npz", "--plot", "plot.png"]
    (tmp_path / "broken.png").write_text("no image")
    with open("/dev/full", "w", encoding="utf-8") as full:
        command = [sys.executable, "-m", "roialign", *map(str, program)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: output cannot be written: No space left on device"
    assert (tmp_path / "out.npz").exists()
    assert (tmp_path / "plot.png").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="the shell closes the streams")
def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    """Libraries write messages to the descriptors 1 and 2, whatever file they belong to."""
    script = """
import os, subprocess, sys
from roialign.commands.streams import prepare_streams
prepare_streams()
with open("numbers", "w", encoding="utf-8") as file:
    print(file.fileno() > 2, file=file, flush=True)
    os.write(2, b"a message of a library")
    subprocess.run([sys.executable, "-c", "import os; os.write(2, b'one of another process')"], check=True)
print("output")
print("a message", file=sys.stderr)
"""
    program = f'"{sys.executable}" -c "$0" <&- >&- 2>&-'
    assert subprocess.run(["sh", "-c", program, script], check=False, cwd=tmp_path).returncode == 0
    assert (tmp_path / "numbers").read_text() == "True\n"


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
