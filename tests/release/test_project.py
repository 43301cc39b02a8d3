"""What the build, the extras, the workflows and the issue forms say, where two of them say the same."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from roialign._extras import PARTS
from tests.tables.paths import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")


def packages_of(extra: str) -> set[str]:
    """The requirements of an extra and of those that it names."""
    found = set()
    for requirement in EXTRAS[extra]:
        inner = re.fullmatch(r"roialign\[(.+)\]", requirement)
        found |= set().union(*map(packages_of, inner[1].split(","))) if inner else {requirement}
    return found


def test_the_environment_of_make_has_what_a_build_asks_for() -> None:
    """Outside pip's isolation nobody else installs it."""
    assert set(PROJECT["build-system"]["requires"]) <= set(PROJECT["dependency-groups"]["build"])


def test_the_extra_all_is_all_that_a_user_can_want() -> None:
    users = [extra for extra in EXTRAS if extra not in ("all", "test", "bench")]
    assert packages_of("all") == set().union(*map(packages_of, users))


@pytest.mark.parametrize("part", PARTS)
def test_what_is_said_to_be_missing_is_what_the_extra_asks_for(part: str) -> None:
    assert set(PARTS[part][1].values()) <= packages_of(part)


def test_the_wheels_are_of_the_stable_abi_where_the_build_says_so() -> None:
    assert PROJECT["tool"]["scikit-build"]["wheel"]["py-api"] == "cp312"
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert "${SKBUILD_SABI_COMPONENT}" in text
    assert "STABLE_ABI" in text


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_pinned_to_a_commit_and_says_its_version(workflow: Path) -> None:
    uses = re.findall(r"uses: *(.+)", workflow.read_text(encoding="utf-8"))
    assert uses
    assert [line for line in uses if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_every_issue_form_asks_for_the_info(form: Path) -> None:
    assert "roialign info" in form.read_text(encoding="utf-8")


def test_there_are_workflows_and_forms() -> None:
    assert {path.stem for path in WORKFLOWS} == {"docs", "tests", "wheels"}
    assert len(FORMS) == 4
