"""Runs torchvision's own tests of RoI operators and of suppression on our kernels: ``python -m tests.peers.suites``.

The tests come from the newest source package of torchvision that the Debian mirror of this machine gives, as apt finds
and verifies it, or from the archive that ``ROIALIGN_TORCHVISION_ARCHIVE`` names. Nothing of it is kept in this
repository. `tests.peers.torchvision_source` says what is torchvision's in the run and what is ours.

The exit code is 1 where a test fails that is not in `KNOWN`, or one in `KNOWN` does not.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

FOLDER = Path("build/peers").resolve()
PACKAGE = "pytorch-vision"
#: From the newest on: not every mirror has the sources of every suite.
SUITES = ("unstable", "testing", "stable", "oldstable")
#: Of archives that were seen before; of another the signature of the suite's index vouches alone.
SHA256 = {"0.21.0": "0a4a967bbb7f9810f792cd0289a07fb98c8fb5d1303fae8b63e3a6b05d720058"}
CLASSES = ("TestRoiPool", "TestPSRoIPool", "TestRoIAlign", "TestPSRoIAlign", "TestMultiScaleRoIAlign", "TestNMS")
#: Tests that fail, by a pattern of their names, and why.
KNOWN = {
    r"TestNMS::.*test_qnms": "suppression of quantised boxes stays torchvision's own: install() does not touch it, and "
    "our detectors have none",
    r"TestNMS::.*test_nms_input_errors": "our suppression is called by our detectors alone, which do not check what "
    "they computed; torchvision's operator keeps its checks",
}


def apt_settings() -> Path:
    """Folders of apt's own for this run, with the source packages of the mirror that the machine already uses."""
    apt = FOLDER / "apt"
    for name in ("lists/partial", "state", "cache", "empty"):
        (apt / name).mkdir(parents=True, exist_ok=True)
    (apt / "status").touch()
    targets = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(LABEL)", "Created-By: Packages"]
    listed = subprocess.run(targets, check=True, capture_output=True, text=True).stdout.splitlines()
    mirrors = [uri for uri, _, label in (line.partition(" ") for line in listed) if label == "Debian"]
    if not mirrors:
        raise SystemExit("tests.peers.suites: apt knows no mirror of Debian here; name an archive in the environment")
    keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
    lines = [f"deb-src [signed-by={keys}] {mirrors[0]} {suite} main\n" for suite in SUITES]
    (apt / "sources.list").write_text("".join(lines))
    paths = {
        "Dir::Etc::sourcelist": "sources.list",
        "Dir::Etc::sourceparts": "empty",
        "Dir::State": "state",
        "Dir::State::lists": "lists",
        "Dir::State::status": "status",
        "Dir::Cache": "cache",
    }
    settings = apt / "apt.conf"
    settings.write_text(
        "".join(f'{key} "{apt / value}";\n' for key, value in paths.items()) + 'APT::Sandbox::User "";\n'
    )
    return settings


def fetch() -> Path:
    """The archive, whose checksum apt compares with the signed index."""
    if given := os.environ.get("ROIALIGN_TORCHVISION_ARCHIVE"):
        return Path(given)
    environment = {**os.environ, "APT_CONFIG": str(apt_settings())}
    subprocess.run(["apt-get", "-q", "update"], env=environment, cwd=FOLDER)  # a suite may be missing
    for suite in SUITES:
        command = ["apt-get", "-q", "source", "--download-only", "--tar-only", f"{PACKAGE}/{suite}"]
        before = set(FOLDER.glob("*.orig.tar.*"))
        done = subprocess.run(command, env=environment, cwd=FOLDER)
        archives = sorted(set(FOLDER.glob("*.orig.tar.*")) - before or before)
        if done.returncode == 0 and archives:
            return archives[-1]
    raise SystemExit(f"tests.peers.suites: no suite of {', '.join(SUITES)} gives the source of {PACKAGE}")


def unpack(archive: Path) -> Path:
    """The folder with the source, named after its version."""
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    with tarfile.open(archive) as tar:
        name = tar.getnames()[0].partition("/")[0]
        tar.extractall(FOLDER, filter="data")
    version = name.rpartition("-")[2]
    expected = SHA256.get(version)
    print(f"torchvision {version}, SHA-256 {digest}" + ("" if expected else ": not seen before"), flush=True)
    if expected not in (None, digest):
        raise SystemExit(f"{archive}: expected SHA-256 {expected}")
    return FOLDER / name


def run(source: Path) -> list[ElementTree.Element]:
    """Every test that was run or skipped."""
    report = FOLDER / "torchvision.xml"
    report.unlink(missing_ok=True)
    here = Path(__file__).resolve().parents[2]
    environment = {
        **os.environ,
        "ROIALIGN_TORCHVISION_SOURCE": str(source),
        "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(here)])),
    }
    plugin = ["-p", "no:cacheprovider", "-p", "tests.peers.torchvision_source", f"--junitxml={report}"]
    names = ["-q", "--tb=no", "--disable-warnings", "test_ops.py", "-k", " or ".join(CLASSES)]
    subprocess.run([sys.executable, "-m", "pytest", *plugin, *names], cwd=source / "test", env=environment)
    if not report.exists():
        raise SystemExit("tests.peers.suites: pytest did not come to its end")
    return list(ElementTree.parse(report).getroot().iter("testcase"))


def judge(cases: list[ElementTree.Element]) -> bool:
    """Prints every failure with its reason; whether all are as they are known."""
    failed, passed, skipped = {}, 0, 0
    for case in cases:
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        trouble = [one for one in case if one.tag in ("failure", "error")]
        if trouble:
            failed[name] = trouble[0].get("message", "").splitlines()[0]
        elif case.find("skipped") is not None:
            skipped += 1
        else:
            passed += 1
    reasons = {name: [why for pattern, why in KNOWN.items() if re.match(pattern, name)] for name in failed}
    for why in KNOWN.values():
        names = [name for name, known in reasons.items() if why in known]
        print(f"{len(names)} known failures: {why}:", *names, sep="\n  ")
    unknown = [name for name, known in reasons.items() if not known]
    for name in unknown:
        print(f"NOT KNOWN: {name}: {failed[name]}")
    idle = [pattern for pattern, why in KNOWN.items() if not any(why in known for known in reasons.values())]
    for pattern in idle:
        print(f"KNOWN, but all pass: {pattern}")
    print(f"{passed} passed, {len(failed)} failed ({len(unknown)} of them not known), {skipped} skipped")
    return passed > 0 and not unknown and not idle


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    sys.exit(not judge(run(unpack(fetch()))))
