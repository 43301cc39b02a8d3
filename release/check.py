"""All that must be right before a version is tagged: `make release-check`.

    python -m release.check                 # version, changelog, wheels, pages, links, workflows
    python -m release.check --skip wheels   # all but a step, or several

Every step says what it has found; the exit code is 0 where nothing is wrong.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from .audit import check_files
from .links import broken_links, pages
from .paths import ROOT, version
from .versions import changelog_problems, version_problems

#: The wheels that `make wheels` makes here; the workflow makes those of the other systems.
TAGS = [
    f"{python}-manylinux_2_28_{architecture}"
    for architecture in ("x86_64", "aarch64")
    for python in ("cp310-cp310", "cp311-cp311", "cp312-abi3")
]


def _run(*command: str) -> list[str]:
    """What a command printed, where it fails."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return [] if done.returncode == 0 else [f"{' '.join(command)}:\n{done.stdout}{done.stderr}".rstrip()]


def check_version() -> list[str]:
    tagged = subprocess.run(
        ["git", "tag", "--list", f"v{version()}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found = [f"v{version()} is tagged already"] if tagged.stdout.strip() else []
    return version_problems() + found


def check_clean() -> list[str]:
    """A release is what is committed."""
    status = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [f"not committed: {line}" for line in status.stdout.splitlines()]


def check_wheels() -> list[str]:
    """That all wheels of this version lie in dist/, are newer than what they are made of, and pass their audit."""
    found = []
    for tag in TAGS:
        wheel = ROOT / "dist" / f"roialign-{version()}-{tag}.whl"
        if not wheel.exists():
            found.append(f"dist/{wheel.name} is missing: make wheels")
            continue
        newer = [name for name in _sources() if (ROOT / name).stat().st_mtime > wheel.stat().st_mtime]
        if newer:
            found.append(f"dist/{wheel.name} is older than {newer[0]}: make wheels")
        found += check_files([wheel])
    return found


def _sources() -> list[str]:
    command = ["git", "ls-files", "src", "cpp", "CMakeLists.txt", "pyproject.toml"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()


def check_source_distribution() -> list[str]:
    """That the source distribution can be made, and holds what a build needs."""
    found = _run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", "dist")
    return found or check_files([ROOT / "dist" / f"roialign-{version()}.tar.gz"])


def check_pages() -> list[str]:
    """That the examples of the pages run, and their numbers are those of the program."""
    return _run(sys.executable, "-m", "pytest", "-q", "tests/docs", "tests/release")


def check_links() -> list[str]:
    return [link for page in pages() for link in broken_links(page)]


def check_workflows() -> list[str]:
    """zizmor's look at the workflows, and actionlint's where it is installed."""
    found = _run(str(Path(sys.executable).with_name("zizmor")), "--offline", "--quiet", ".github")
    if shutil.which("actionlint") is None:
        say("         actionlint is not installed: the workflows' syntax was not checked")
        return found
    return found + _run("actionlint")


STEPS: dict[str, Callable[[], list[str]]] = {
    "version": check_version,
    "changelog": changelog_problems,
    "clean": check_clean,
    "links": check_links,
    "workflows": check_workflows,
    "source": check_source_distribution,
    "wheels": check_wheels,
    "pages": check_pages,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m release.check", description=__doc__.splitlines()[0])
    parser.add_argument("--skip", nargs="+", choices=STEPS, default=[], help="steps that are left out")
    skipped = parser.parse_args().skip
    say(f"roialign {version()}")
    failed = []
    for name, step in STEPS.items():
        if name in skipped:
            say(f"skipped  {name}")
            continue
        start = time.perf_counter()
        problems = step()
        say(f"{'problem' if problems else 'ok':8} {name}, {time.perf_counter() - start:.1f} s")
        for problem in problems:
            say("\n".join(f"         {line}" for line in problem.splitlines()))
        failed += [name] if problems else []
    if failed:
        sys.exit(f"not ready for a release: {', '.join(failed)}")
    say(f"ready: git tag v{version()} && git push --tags starts .github/workflows/wheels.yml, which publishes")


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
