"""A worker that runs tests. pytest collects them once, and each test runs when its name is requested."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest

from ..channel import Channel
from ..process import ROOT
from .work import is_broken

#: Capturing is off because it would take standard input away. Warnings are not errors here, because other library
#: versions may have new ones that do not concern the kernels. hypothesis's plugin is off because it imports hypothesis
#: at the end, which takes up to 30 seconds on a slow machine; tests that use hypothesis run without it.
PLUGINS = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
OPTIONS = ["-s", "-q", "-m", "gpu", "-W", "default", *PLUGINS, "--tb=short"]


class OnDemand:
    """A plugin that runs tests on request."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.reports: list[pytest.TestReport] = []

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed:
            raise session.Interrupted(f"{session.testsfailed} errors during collection")
        items = {item.nodeid: item for item in session.items}

        def answer(request: dict[str, Any]) -> dict[str, Any]:
            if request["command"] == "list":
                return {"names": list(items)}
            self.reports.clear()
            item = items[request["name"]]
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
            return {**verdict_of(self.reports), "is_broken": is_broken()}

        self.channel.serve(answer)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.reports.append(report)


def verdict_of(reports: Sequence[pytest.TestReport]) -> dict[str, Any]:
    """Combine the reports of a test's phases, each of which may fail or be skipped."""
    for outcome in ("failed", "skipped"):
        for report in reports:
            if report.outcome == outcome:
                return {"outcome": outcome, "notes": [words_of(report)]}
    return {"outcome": "passed", "notes": []}


def words_of(report: pytest.TestReport) -> str:
    """Return the reason in one line."""
    if isinstance(report.longrepr, tuple):  # for skipped tests: file, line, reason
        return str(report.longrepr[2])
    crash = getattr(report.longrepr, "reprcrash", None)
    lines = str(crash.message if crash else report.longrepr).strip().splitlines() or ["no message"]
    return lines[0]


def serve_tests(channel: Channel, arguments: Sequence[str]) -> None:
    os.chdir(ROOT)
    code = pytest.main([*OPTIONS, *arguments], plugins=[OnDemand(channel)])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise SystemExit(int(code))
