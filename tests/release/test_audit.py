"""What a wheel must be, and that one which is not is found."""

from __future__ import annotations

import io
import re
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import roialign
from release import audit
from release.audit import check_files, parse_name, problems_of, source_problems
from roialign import _core

MODULE = {
    "cp312-abi3": "_core.abi3.so",
    "cp310-cp310": "_core.cpython-310-x86_64-linux-gnu.so",
    "cp314-cp314t": "_core.cpython-314t-x86_64-linux-gnu.so",
}
CONTENT = ("roialign/__init__.py", "roialign/_core.pyi", "roialign/py.typed", "roialign-1.2.3.dist-info/METADATA")


def write_wheel(folder: Path, tag: str, *files: str, size: int = 0) -> Path:
    """A wheel of these files and as many bytes."""
    wheel = folder / f"roialign-1.2.3-{tag}.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in files:
            archive.writestr(name, b"")
        archive.writestr("roialign/size.bin", b"\0" * size)
    return wheel


@pytest.mark.parametrize("tag", MODULE)
def test_a_wheel_as_it_must_be(tmp_path: Path, tag: str) -> None:
    wheel = write_wheel(tmp_path, f"{tag}-manylinux_2_28_x86_64", *CONTENT, f"roialign/{MODULE[tag]}")
    assert problems_of(wheel, "1.2.3") == []


@pytest.mark.parametrize(
    ("tag", "module", "problem"),
    [
        ("cp312-abi3-linux_x86_64", "_core.abi3.so", "for this machine only"),
        ("cp313-cp313-manylinux_2_28_x86_64", "_core.cpython-313-x86_64-linux-gnu.so", "expected cp312-abi3, cp310"),
        ("cp311-abi3-manylinux_2_28_x86_64", "_core.abi3.so", "expected cp312-abi3, cp310"),
        # Tagged as if it were of the stable ABI, around a module that only one version loads.
        ("cp312-abi3-manylinux_2_28_x86_64", "_core.cpython-312-x86_64-linux-gnu.so", "the compiled module of abi3"),
        ("cp310-cp310-manylinux_2_28_x86_64", "_core.abi3.so", "the compiled module of cp310"),
    ],
)
def test_a_wrong_tag_is_found(tmp_path: Path, tag: str, module: str, problem: str) -> None:
    wheel = write_wheel(tmp_path, tag, *CONTENT, f"roialign/{module}")
    assert any(problem in found for found in problems_of(wheel, "1.2.3"))


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ((*CONTENT,), "got none"),
        ((*CONTENT, "roialign/_core.abi3.so", "roialign/_core.cpython-311-x86_64-linux-gnu.so"), "alone, got"),
        (
            (*CONTENT, "roialign/_core.abi3.so", "tests/test_a.py"),
            "the package and its metadata only, got tests/test_a.py",
        ),
        ((*CONTENT[1:], "roialign/_core.abi3.so"), "roialign/__init__.py is missing"),
    ],
)
def test_wrong_content_is_found(tmp_path: Path, files: tuple[str, ...], problem: str) -> None:
    wheel = write_wheel(tmp_path, "cp312-abi3-manylinux_2_28_x86_64", *files)
    assert any(problem in found for found in problems_of(wheel, "1.2.3"))


def test_a_wheel_of_another_version_or_too_large_is_found(tmp_path: Path) -> None:
    tag = "cp312-abi3-manylinux_2_28_x86_64"
    wheel = write_wheel(tmp_path, tag, *CONTENT, "roialign/_core.abi3.so", size=audit.LARGEST_BYTES + 1)
    assert [found[:20] for found in problems_of(wheel, "1.2.4")] == ["expected roialign-1.", "expected at most 300"]


@pytest.mark.parametrize("name", ["roialign-1.2.3.tar.gz", "roialign-1.2.3.whl", "roialign-1.2.3-1-cp312-abi3-any.whl"])
def test_what_is_no_wheels_name_is_said(name: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"got {name}")):
        parse_name(Path(name))


def test_a_source_distribution_without_the_core_is_found(tmp_path: Path) -> None:
    archive = tmp_path / "roialign-1.2.3.tar.gz"
    with tarfile.open(archive, "w:gz") as opened:
        for name in ("pyproject.toml", "CMakeLists.txt", "LICENSE", "README.md", "src/roialign/_core.abi3.so"):
            opened.addfile(tarfile.TarInfo(f"roialign-1.2.3/{name}"), io.BytesIO())
    assert source_problems(archive, "1.2.3") == [
        "cpp/bindings.cpp is missing",
        "src/roialign/__init__.py is missing",
        "src/roialign/_core.abi3.so does not belong here",
    ]
    (found,) = check_files([archive])
    assert found == f"roialign-1.2.3.tar.gz: expected roialign-{roialign.__version__}.tar.gz, got roialign-1.2.3.tar.gz"


def test_the_module_is_of_the_stable_abi_from_python_3_12_on() -> None:
    own = re.search(r"abi_thread|t-", sys.implementation.cache_tag or "") or sys.version_info < (3, 12)
    name = Path(_core.__file__).name
    assert (name in ("_core.abi3.so", "_core.pyd")) == (not own), name
