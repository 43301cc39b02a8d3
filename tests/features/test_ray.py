"""The Ray engine: what a worker does, in this process; and a real Ray on this machine, whose workers are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from roialign.features import BackboneError, FileBoxes, GridBoxes, Job, JobSettings, WorkerError, prepare, run
from roialign.features.job import Loaded
from roialign.features.ray_worker import Described, ImageFailed, RemoteBackbone, ShardWorker, Task
from roialign.files.boxes import Box
from tests.commands.invoked import invoke
from tests.features.jobs import SMALL, contents, small_job, start
from tests.features.photographs import write_photographs

SETTINGS = JobSettings(sizes=((1, 1),), levels="16", shard_images=4, batch_size=3)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_photographs(folder, 24)
    return folder


@pytest.fixture(scope="module")
def images(photos: Path) -> list[Path]:
    return sorted(photos.glob("*.jpg"))[:12]


def worker_of(images: Sequence[Path], out: Path, *, strict: bool = False) -> tuple[ShardWorker, Job, Task]:
    """A worker, a job that it has described, and what it is told of it."""
    worker = ShardWorker(os.getcwd())
    described = worker.describe(SETTINGS, SMALL)
    loaded = Loaded(RemoteBackbone(described), described.software)
    job = prepare(images, GridBoxes(2, 2), out, SETTINGS, SMALL, load=lambda *_: loaded)
    (out / "token").touch()
    return worker, job, Task(job.work, out, "token", readers=0, strict=strict)


def test_a_worker_writes_what_one_machine_writes(images: list[Path], tmp_path: Path) -> None:
    run(small_job(images, tmp_path / "alone"), readers=0)
    worker, job, task = worker_of(images, tmp_path / "out")
    worker.join(SETTINGS, SMALL, task)
    for shard in reversed(job.shards):
        done = worker.run_shard(shard, job.work.boxes, [shard.images[0]])
        assert (done.report.images, done.report.boxes) == (4, 16)
        assert worker.progress(0.0) == (shard.file, 4)
    (tmp_path / "out" / "token").unlink()
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")
    with pytest.raises(
        BackboneError, match="expected one that is loaded in this process, got one that is loaded on the workers"
    ):
        job.work.backbone.maps([], [])  # type: ignore[arg-type]


def test_a_worker_that_sees_other_folders_says_so(images: list[Path], tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match=r"cannot see .*nowhere: No such file.*share under the same path"):
        ShardWorker(str(tmp_path / "nowhere"))
    worker, job, task = worker_of(images, tmp_path / "out")
    with pytest.raises(WorkerError, match="is not the folder that the main process writes to"):
        worker.join(SETTINGS, SMALL, replace(task, token="another"))
    worker.join(SETTINGS, SMALL, task)
    with pytest.raises(WorkerError, match=r"cannot see .*not_here\.jpg, which the main process sees"):
        worker.run_shard(job.shards[0], job.work.boxes, [images[0].with_name("not_here.jpg")])
    assert not list((tmp_path / "out").glob("features-*"))


def test_a_worker_with_other_software_is_refused(images: list[Path], tmp_path: Path) -> None:
    worker, job, task = worker_of(images, tmp_path / "out")
    described: Described = job.work.backbone.described  # type: ignore[attr-defined]
    other = described._replace(software={**described.software, "machine": {"cpu": "avx9"}})
    task = replace(task, work=replace(task.work, backbone=RemoteBackbone(other)))
    with pytest.raises(
        WorkerError, match=r'would compute other values than the first worker: machine\.cpu: "avx9" there'
    ):
        worker.join(SETTINGS, SMALL, task)


def test_cpus_whose_bits_are_equal_may_share_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = []
    for isa in ("avx2", "avx512", "avx512_bf16"):
        monkeypatch.setattr("roialign.features.job.build_info", lambda isa=isa: {"isa": isa})
        machines.append(ShardWorker(os.getcwd()).describe(SETTINGS, SMALL).software["machine"])
    assert machines == [{"cpu": "avx2"}, {"cpu": "avx512"}, {"cpu": "avx512"}]


def test_a_strict_worker_writes_nothing_of_a_shard_with_a_broken_image(images: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"")
    worker, job, task = worker_of([broken, *images], tmp_path / "out", strict=True)
    worker.join(SETTINGS, SMALL, task)
    with pytest.raises(ImageFailed) as caught:
        worker.run_shard(job.shards[0], job.work.boxes, [])
    assert caught.value.args[0] == broken
    worker.run_shard(job.shards[1], job.work.boxes, [])
    assert [path.name for path in (tmp_path / "out").glob("features-*")] == [job.shards[1].file]


def test_a_worker_is_sent_the_boxes_of_its_images_only() -> None:
    boxes = {Path(name): [Box(0, name, name, (0.0, 0.0, 1.0, 1.0), "")] for name in ("a", "b", "c")}
    part = FileBoxes(boxes).of_images([Path("b"), Path("d")])
    assert list(part.groups) == [Path("b")]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--workers", 2), "Invalid value for --workers: it cannot be used without --engine ray"),
        (("--ray-address", "local"), "Invalid value for --ray-address: it cannot be used without --engine ray"),
        (("--engine", "ray", "--workers", 0), "--workers"),
    ],
)
def test_options_of_ray_that_cannot_be_meant(options: tuple[object, ...], why: str, photos: Path) -> None:
    done = invoke("extract", photos, "--boxes", "grid:1x1", "--backbone", "pixels", *options)
    assert done.exit_code == 2
    assert why in done.stderr


OPTIONS = ("--boxes", "grid:3x3", "--backbone", "efficientnet-lite0", "--levels", 16, "--output-size", "vector")
OPTIONS += ("--image-size", 480, "--shard-images", 2, "--threads", 1, "--readers", 1)
RAY = ("--engine", "ray", "--ray-address", "local", "--workers", 2)


@pytest.fixture(autouse=True)
def ray_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Ray keeps the token by which its processes know each other."""
    monkeypatch.setenv("HOME", str(tmp_path))


def processes_below(pid: int) -> dict[int, str]:
    """The processes that a process has started, and those that these have, with their command lines."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
    rows = [line.split(None, 2) for line in listed.stdout.splitlines()]
    found = {pid: ""}
    while True:
        more = {int(own): args for own, parent, args in rows if int(parent) in found and int(own) not in found}
        if not more:
            return {own: args for own, args in found.items() if own != pid}
        found |= more


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for_shards(process: subprocess.Popen[str], out: Path, count: int) -> None:
    while process.poll() is None and len(list(out.glob("features-*"))) < count:
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()


def ended(process: subprocess.Popen[str], code: int) -> tuple[str, str]:
    """Wait for the end with this exit code: what was printed, and the errors."""
    try:
        output, errors = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
    assert process.returncode == code, errors
    return output, errors


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_worker_that_is_killed_and_a_signal_change_no_byte(
    sent: signal.Signals, code: int, photos: Path, tmp_path: Path
) -> None:
    ended(start(photos, *OPTIONS, "--out", tmp_path / "whole"), 0)
    out = tmp_path / "out"

    process = start(photos, *OPTIONS, *RAY, "--out", out)
    wait_for_shards(process, out, 2)
    process.send_signal(sent)
    _, errors = ended(process, code)
    written = {path.name: path.stat().st_mtime_ns for path in out.glob("features-*")}
    assert f"stopped with {len(written)} of 12 shards done; rerun the same command to resume: {out}" in errors
    assert 2 <= len(written) < 12

    process = start(photos, *OPTIONS, *RAY, "--out", out)
    wait_for_shards(process, out, len(written) + 1)
    below = processes_below(process.pid)
    workers = [pid for pid, args in below.items() if args.startswith("ray::ShardWorker")]
    assert workers
    os.kill(workers[0], signal.SIGKILL)
    output, errors = ended(process, 0)
    assert "processed again: its worker was lost: " in errors
    assert "wrote" in output
    assert contents(out) == contents(tmp_path / "whole")
    assert written.items() <= {path.name: path.stat().st_mtime_ns for path in out.glob("features-*")}.items()
    time.sleep(1.0)
    assert [args for pid, args in below.items() if alive(pid)] == [], "Ray has ended"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
def test_a_shard_that_kills_its_workers_ends_the_job(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(photos, *OPTIONS, *RAY, "--shard-retries", 1, "--image-size", 960, "--out", out)
    while process.poll() is None:
        for pid, args in processes_below(process.pid).items():
            if args.startswith("ray::ShardWorker") and (out / "_manifest.json").exists():
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.3)
    _, errors = ended(process, 1)
    assert "lost" in errors.splitlines()[-1]
    assert not list(out.glob(".*")), "nothing unfinished is left"


SHARED = """
import ray
from roialign.features import BackboneOptions, JobSettings, RayEngine

ray.init("local", num_cpus=9, num_gpus=2, include_dashboard=False, log_to_driver=False)  # Ray takes our word for it
with RayEngine() as engine:
    assert (engine.threads("cpu"), engine.threads("cuda")) == (9, 4)
    try:
        engine.load(JobSettings("pixels"), BackboneOptions(device="cuda", threads=4))
    except ValueError as error:
        print(error)
    assert engine.count() == 2
with RayEngine(workers=5) as engine:
    loaded = engine.load(JobSettings("pixels"), BackboneOptions(threads=2))
    print(loaded.backbone.strides, engine.count())
assert ray.is_initialized(), "it is not ours to end"
ray.shutdown()
"""


@pytest.mark.slow
def test_workers_have_gpus_and_a_ray_that_is_there_is_used() -> None:
    """The first worker has a GPU, as Ray believes, and what is wrong there is raised here as on one machine."""
    script = [sys.executable, "-c", SHARED]
    here = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # 127.0.0.1 only
    done = subprocess.run(script, env=here, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "device: expected 'cpu' for 'pixels', got 'cuda'"
    assert done.stdout.splitlines()[1] == "(1,) 5"


@pytest.mark.slow
def test_a_cluster_without_room_is_named(photos: Path, tmp_path: Path) -> None:
    for more, why in (
        (("--device", "cuda"), "Ray has no machine for a worker with 1 CPU and a GPU: the cluster has"),
        (("--threads", 1000), "Ray has no machine for a worker with 1000 CPUs: the cluster has"),
        (("--ray-address", "127.0.0.1:1"), "Ray at 127.0.0.1:1: cannot be reached: "),
    ):
        options = (*OPTIONS, "--engine", "ray", "--ray-address", "local", *more)
        _, errors = ended(start(photos, *options, "--out", tmp_path / "out"), 1)
        assert why in errors
        assert not (tmp_path / "out").exists()
