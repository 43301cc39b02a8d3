"""A run in steps on a GPU, without one: workers that hang, die or fail, runs that are killed, files that are no good;
and all steps that tell most, at tiny sizes, in Triton's interpreter. No time is asserted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton")

from benchmarks.gpu import results, run, steps
from benchmarks.gpu.record import Item, Record, Results
from benchmarks.gpu.steps import Step
from benchmarks.gpu.team import Team
from tests.tables.paths import ROOT

#: A worker whose jobs say by their names what becomes of them.
PROGRAM = """
import os, sys, time
from benchmarks.channel import Channel, end_with_parent
end_with_parent(0.1)
def answer(request):
    if request["command"] == "list":
        return {"names": sys.argv[1].split(",")}
    name = request["name"]
    print("the word", name)
    if "dies" in name:
        os._exit(7)
    if "falls silent" in name:
        channel.replies.close()
    if "hangs" in name or "falls silent" in name:
        time.sleep(1000)
    if "naps" in name:
        time.sleep(0.5)
    outcome = "failed" if "fails" in name or "spoils" in name else "passed"
    found = {"process": os.getpid()}
    return {"outcome": outcome, "notes": [], "found": found, "is_broken": "spoils" in name}
with Channel() as channel:
    channel.serve(answer)
"""


@dataclass(frozen=True)
class Scripted(Step):
    """Jobs of that program; under a checker, if there is one."""

    def command(self, log: Path) -> list[str]:
        program = [sys.executable, "-c", PROGRAM, *self.work]
        return [self.checker, str(log), *program] if self.checker else program


def scripted(jobs: str, limit: float = 60, job_limit: float = 30, workers: int = 1, **more: Any) -> Scripted:
    return Scripted("scripted", "first", "nothing", (jobs,), limit, job_limit, workers, **more)


def results_of(step: Step, folder: Path, record: Record | None = None) -> Results:
    """After a run of the one step."""
    record = record or Record(folder / "gpu.json")
    found = record.steps.setdefault(step.name, Results())
    Team(step, record, run.Log(folder / "gpu.log"), time.monotonic() + step.limit, {}, None).run()
    return found


def outcomes(found: Results) -> dict[str, str]:
    return {name: item.outcome for name, item in found.items.items()}


def test_a_job_that_hangs_is_killed_at_its_limit(tmp_path: Path) -> None:
    found = results_of(scripted("first,hangs,last", job_limit=2), tmp_path)
    assert outcomes(found) == {"first": "passed", "hangs": "failed", "last": "passed"}
    assert found.items["hangs"].notes == ["no answer within 2 seconds"]
    assert found.left() == 0


def test_a_job_that_dies_is_one_job(tmp_path: Path) -> None:
    found = results_of(scripted("first,dies,last"), tmp_path)
    assert outcomes(found) == {"first": "passed", "dies": "failed", "last": "passed"}
    assert "ended with code 7: the word dies" in found.items["dies"].notes[0]
    assert "the word dies" in (tmp_path / "gpu.log").read_text()


def test_a_job_that_ends_the_output_but_not_the_process_is_one_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.process.LAST_WORDS", 0.2, raising=False)
    found = results_of(scripted("first,falls silent,last"), tmp_path)
    assert outcomes(found) == {"first": "passed", "falls silent": "failed", "last": "passed"}
    assert "closed its output and was killed" in found.items["falls silent"].notes[0]


def test_a_process_that_is_spoilt_is_left(tmp_path: Path) -> None:
    found = results_of(scripted("first,fails,spoils,last"), tmp_path)
    processes = [found.items[name].found["process"] for name in ("first", "fails", "spoils", "last")]
    assert processes[0] == processes[1] == processes[2] != processes[3]
    assert list(outcomes(found).values()) == ["passed", "failed", "failed", "passed"]


def test_jobs_are_shared_out_and_each_is_done_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "CORES", 3)
    names = [f"job {index}" for index in range(40)]
    found = results_of(scripted(",".join(names), workers=16), tmp_path)
    assert sorted(found.items) == sorted(names)
    assert found.count == 40


@pytest.mark.slow
def test_what_does_not_fit_is_left_and_named(tmp_path: Path) -> None:
    """By the step's limit; it is no failure, and the next run does it."""
    found = results_of(scripted("first,hangs,last", limit=4), tmp_path)
    assert outcomes(found) == {"first": "passed"}
    assert found.left() == 2
    assert found.problem == "the time limit was reached"
    record = Record.read(tmp_path / "gpu.json", print)
    process = record.steps["scripted"].items["first"].found["process"]
    found = results_of(scripted("first,last"), tmp_path, record)
    assert outcomes(found) == {"first": "passed", "last": "passed"}
    assert found.items["first"].found["process"] == process


def test_a_step_without_time_says_so(tmp_path: Path) -> None:
    found = results_of(scripted("none", limit=0), tmp_path)
    assert found.left() is None
    assert found.problem == "the time limit was reached"


def test_workers_that_do_not_begin_are_a_problem_of_their_step(tmp_path: Path) -> None:
    found = results_of(replace(scripted("none"), checker="/no/such/program"), tmp_path)
    assert found.left() is None
    assert "No such file" in str(found.problem)


def checker_of(folder: Path, code: int) -> str:
    """A program that runs another, then ends with this code and a line in its log."""
    checker = folder / "checker"
    checker.write_text(
        f'#!/bin/sh\nlog=$1; shift; "$@"\necho "========= Invalid __global__ write of size 4" > "$log"; exit {code}\n'
    )
    checker.chmod(0o755)
    return str(checker)


@pytest.mark.parametrize("code", [0, 9])
def test_a_checker_has_a_verdict_of_its_own(code: int, tmp_path: Path) -> None:
    found = results_of(scripted("first,last", checker=checker_of(tmp_path, code)), tmp_path)
    assert set(outcomes(found).values()) == {"failed" if code else "passed"}
    if code:
        assert "Invalid __global__ write of size 4" in found.items["first"].notes[0]


def test_a_checked_process_ends_before_the_limit_of_its_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed in a job has no verdict on the jobs before."""
    monkeypatch.setattr("benchmarks.gpu.team.JOBS_PER_VERDICT", 1000, raising=False)
    monkeypatch.setattr("benchmarks.gpu.team.SOON", 3.0, raising=False)
    names = ",".join(f"naps {index}" for index in range(40))
    found = results_of(scripted(names, limit=8, checker=checker_of(tmp_path, 0)), tmp_path)
    assert set(outcomes(found).values()) == {"passed"}
    assert len({item.found["process"] for item in found.items.values()}) == 1
    assert found.left()
    assert found.problem == "the time limit was reached"


def test_a_checker_gives_its_verdict_every_few_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was done before is kept, whatever becomes of the later ones."""
    monkeypatch.setattr("benchmarks.gpu.team.JOBS_PER_VERDICT", 2, raising=False)
    monkeypatch.setattr("benchmarks.gpu.team.SOON", 0.5, raising=False)
    found = results_of(scripted("a,b,c,d,hangs,e", limit=8, checker=checker_of(tmp_path, 0)), tmp_path)
    assert outcomes(found) == dict.fromkeys("abcd", "passed")
    assert found.left() == 2
    processes = [item.found["process"] for item in found.items.values()]
    assert processes[0] == processes[1] != processes[2] == processes[3]


def test_whether_a_job_has_time(tmp_path: Path) -> None:
    """Under a checker: for half more than the longest one, not above the limit of a job, and for the end."""

    def has_time(
        left: float, job: float, before: float = 0.0, limit: float = 1000.0, checker: str | None = "any"
    ) -> bool:
        step = scripted("none", job_limit=limit, checker=checker)
        record = Record(tmp_path / "gpu.json", {step.name: Results()})
        team = Team(step, record, run.Log(tmp_path / "gpu.log"), time.monotonic() + left, {}, None)
        team.longest_job, team.longest_end = job, 200.0
        return team.has_time(before)

    assert has_time(1000, 500)
    assert not has_time(1000, 550)
    assert not has_time(1000, 500, before=100)
    assert has_time(1000, 550, limit=500)
    assert has_time(300, 0)
    assert not has_time(150, 0)
    assert has_time(150, 500, checker=None)
    assert not has_time(-1, 0, checker=None)


def test_a_job_that_hangs_says_nothing_about_the_time_of_others(tmp_path: Path) -> None:
    step = scripted("hangs,naps", job_limit=2, checker=checker_of(tmp_path, 0))
    record = Record(tmp_path / "gpu.json", {step.name: Results()})
    team = Team(step, record, run.Log(tmp_path / "gpu.log"), time.monotonic() + step.limit, {}, None)
    team.run()
    assert outcomes(team.results) == {"hangs": "failed", "naps": "passed"}
    assert 0.5 <= team.longest_job < 2


@pytest.mark.parametrize("text", ['{"schema": 1, "steps": {"a": ', "[]", '{"schema": 0}', '{"schema": 1, "steps": []}'])
def test_a_file_that_is_no_record_is_kept_aside(text: str, tmp_path: Path) -> None:
    path, said = tmp_path / "gpu.json", list[str]()
    path.write_text(text)
    record = Record.read(path, said.append)
    assert record.steps == {}
    assert "gpu.json: no results of this version" in said[0]
    assert "kept as gpu.unreadable.json" in said[1]
    assert (tmp_path / "gpu.unreadable.json").read_text() == text
    record.steps["a"] = Results({"b": Item("passed", 1.0)}, 1)
    record.write()
    assert Record.read(path, said.append).steps == record.steps


def command(folder: Path, *words: str, **environment: str) -> dict[str, Any]:
    return {
        "args": [sys.executable, "-m", "benchmarks.gpu", "run", "--results", str(folder), *words],
        "cwd": ROOT,
        "env": {**os.environ, **environment},
    }


def test_without_a_gpu(tmp_path: Path) -> None:
    done = subprocess.run(**command(tmp_path, CUDA_VISIBLE_DEVICES=""), capture_output=True, text=True)
    assert done.returncode == 1
    assert "torch sees no CUDA device here" in done.stdout


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on(tmp_path: Path) -> None:
    """Its workers end with it; what it has written is whole, and is not done again."""
    words = ("--rehearse", "--steps", "memory")
    process = subprocess.Popen(**command(tmp_path, *words), stdout=subprocess.DEVNULL)
    path, deadline = tmp_path / "gpu.json", time.monotonic() + 100
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and len(json.loads(path.read_text())["steps"].get("memory", {"items": []})["items"]) >= 2:
            break
        time.sleep(0.05)
    process.kill()
    process.wait()
    before = Record.read(path, print).steps["memory"]
    assert 2 <= len(before.items) < 36
    words = (*words, "--most", str(len(before.items) + 1))
    done = subprocess.run(**command(tmp_path, *words), capture_output=True, text=True)
    after = Record.read(path, print).steps["memory"]
    assert len(after.items) >= len(before.items)
    assert {name: after.items[name] for name in before.items} == before.items
    assert done.returncode == 0


#: In the stead of the real one, which looks at GPUs only: it does what it is told to run.
SANITIZER = """#!/bin/sh
[ "$1 $2 $3 $4 $5" = "--error-exitcode 9 --target-processes application-only --log-file" ] || exit 3
shift 6
exec "$@"
"""


@pytest.mark.slow
def test_a_rehearsal_of_what_tells_most(tmp_path: Path) -> None:
    """Every step, a job of each; then nothing is left to do, but what is asked for again."""
    program = tmp_path / "compute-sanitizer"
    program.write_text(SANITIZER)
    program.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    words = ("--rehearse", "--most", "1", "--minutes", "30")
    done = subprocess.run(**command(tmp_path / "out", *words, PATH=path), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    record = Record.read(tmp_path / "out" / "gpu.json", print)
    wanted = [step.name for step in steps.STEPS if step.group == "first"]
    assert list(record.steps) == wanted
    assert all(outcomes(record.steps[name]) and record.steps[name].number("passed") == 1 for name in wanted)
    assert "--steps second" in done.stdout
    again = subprocess.run(**command(tmp_path / "out", *words, "--again", "memory"), capture_output=True, text=True)
    assert again.returncode == 0
    assert again.stdout.count("done before, 1 passed") == len(wanted) - 2  # besides the tools, which are looked at anew
    assert "memory (temporary memory of calls): 1 passed" in again.stdout


def recorded(folder: Path, gpu: str = "Some GPU") -> Record:
    """Of a run on a machine."""
    machine = {"gpu": gpu, "multiprocessors": 132, "memory_gb": 141, "cache_mb": 60, "cpu": "some CPU"}
    tools = {"is_there": True, "machine": machine, "versions": {"torch": "2.11.0"}, "programs": {}, "sources": "a"}
    row = {"workload": "box-test", "what": "forward", "layout": "NHWC", "dtype": "fp16", "points": 2, "ours_us": 20.0}
    row |= {"eager_us": 30.0, "floor_us": 10.0, "extra_memory": 0.01, "peer": "torchvision", "peer_us": 90.0}
    record = Record(folder / "gpu.json", date="2030-01-02")
    record.steps["tools"] = Results({"tools": Item("passed", 1.0, [], tools)}, 1)
    speed = {"rates": Item("passed", 1.0, [], {"rates": {"memory": 4.25e6, "cache": 8e6}})}
    speed["a cell"] = Item("passed", 1.0, [], {"rows": [row]})
    record.steps["speed"] = Results(speed, 2)
    record.write()
    return record


def test_the_page_is_written_of_a_record(tmp_path: Path) -> None:
    record = recorded(tmp_path)
    report = results.read_reports([tmp_path / "gpu.json"])
    assert report == results.report_of(record)
    assert report.rows[0].peer_us == 90.0
    assert "Some GPU, 132 multiprocessors" in results.heading(report)
    assert "a device copy runs at 4250 GB/s" in results.heading(report)


@pytest.mark.slow
def test_results_of_another_machine_are_not_mixed(tmp_path: Path) -> None:
    recorded(tmp_path)
    done = subprocess.run(
        **command(tmp_path, "--rehearse", "--steps", "tools"), stdout=subprocess.PIPE, text=True, check=True
    )
    assert "from another machine" in done.stdout
    assert "kept as gpu.other.json" in done.stdout
    assert list(Record.read(tmp_path / "gpu.json", print).steps) == ["tools"]
    assert Record.read(tmp_path / "gpu.other.json", print).steps["speed"].count == 2


def test_names_of_steps(capsys: pytest.CaptureFixture[str]) -> None:
    assert [step.name for step in steps.chosen(["speed", "tools"])] == ["tools", "speed"]
    assert len(steps.chosen(["all"])) == len(steps.STEPS)
    for words, message in (
        (["--steps", "sped"], "got sped"),
        (["--minutes", "0"], "above 0"),
        (["--most", "0"], "1 or more"),
    ):
        with pytest.raises(SystemExit):
            run.main(words)
        assert message in capsys.readouterr().err


def test_every_test_for_a_gpu_is_in_a_step() -> None:
    of_steps = {word for step in steps.STEPS for word in step.work if word.startswith("tests/gpu/")}
    assert of_steps == {f"tests/gpu/{path.name}" for path in (ROOT / "tests" / "gpu").glob("test_*.py")}


def test_the_first_command_fits_into_its_time() -> None:
    """However long the steps before it take, each has time left; speed comes before what is only more of the same."""
    first = [step for step in steps.STEPS if step.group == "first"]
    names = [step.name for step in first]
    before = first[: names.index("speed") + 1]
    assert sum(step.limit for step in before) <= 60 * 9
    assert all(step.job_limit <= step.limit for step in steps.STEPS)
