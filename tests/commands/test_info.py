"""`roialign info`: versions, threads and backends."""

from __future__ import annotations

import numpy as np

import roialign
from tests.commands.invoked import invoke


def test_info_says_what_runs_here_and_why_the_rest_does_not() -> None:
    result = invoke("info")
    assert result.exit_code == 0
    lines = dict(line.split(maxsplit=1) for line in result.stdout.replace("backend ", "").splitlines() if " " in line)
    assert lines["roialign"].strip() == roialign.__version__
    assert lines["numpy"].strip() == np.__version__
    assert lines["threads"].strip() == str(roialign.get_num_threads())
    assert lines["isa"] in result.stdout
    assert lines["cpu"].strip() == "ready"
    assert lines["reference"].strip() == "ready"
    assert lines["triton"].startswith("ready") or lines["triton"].startswith("not ready: ")
