"""benchmarks.gpu prepare: kernels compiled in advance, for a GPU that is not here."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from benchmarks.gpu import prepare
from tests.tables.paths import ROOT


@pytest.mark.slow
def test_one_job_of_each_step(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    archive = tmp_path / "cache.tar.xz"
    command = [sys.executable, "-m", "benchmarks.gpu", "prepare", "--steps", "smoke,answers,cases,operators"]
    command += ["--most", "1", "--archive", str(archive)]
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path / "cache")}
    run = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    lines = run.stdout.splitlines()
    assert [line.split(",")[0] for line in lines[:4]] == [
        f"{step}: 1 jobs" for step in ("smoke", "answers", "cases", "operators")
    ], "no job fails"
    with tarfile.open(archive) as held:
        names = {Path(name).name for name in held.getnames()}
    for kernel in ("forward", "adjoint_features", "adjoint_boxes", "maximum"):
        assert {f"{kernel}_kernel.cubin", f"{kernel}_kernel.json", f"__grp__{kernel}_kernel.json"} <= names
    assert all(name.endswith((".cubin", ".json")) for name in names), "only what Triton needs to launch them"


@pytest.mark.slow
@pytest.mark.parametrize("gpu", ["cuda:80", "hip:gfx942"])
def test_other_gpus(gpu: str, tmp_path: Path) -> None:
    pytest.importorskip("triton")
    command = [sys.executable, "-m", "benchmarks.gpu", "prepare", "--steps", "smoke", "--most", "1", "--gpu", gpu]
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    run = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.startswith("smoke: 1 jobs"), "no job fails"
    assert any(tmp_path.rglob("adjoint_features_kernel" + (".cubin" if gpu == "cuda:80" else ".hsaco")))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--steps", "smoke,everything"], "got everything"),
        (["--part", "3/2"], "expected a part like 1/2, got 3/2"),
        (["--gpu", "H100"], "expected a GPU like cuda:90 or hip:gfx942, got H100"),
        (["--part", "half"], "expected a part like 1/2, got half"),
    ],
)
def test_wrong_arguments(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        prepare.main(words)
    assert message in capsys.readouterr().err
