"""Check the kernels on this machine's GPU, then measure their speed: one command, the most informative steps first.

    python -m benchmarks.gpu run [--results gpu-results] [--steps first] [--minutes 8] [--again STEP ...] [--rehearse]

Every step has a time limit, and so has the whole run. A job that does not fit, fails or hangs never stops the others.
Results are written to gpu.json and gpu.log in the results folder as they arrive. The next run resumes from there and
skips finished jobs. The exit code is 0 if all requested steps have passed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .record import OUTCOMES, Record, Results
from .steps import GROUPS, STEPS, TOOLS, Step, chosen
from .summary import summary
from .team import Team
from .variables import REHEARSE

#: A rehearsal's steps may take this many times as long.
LONGER = 20


class Log:
    """Write lines to the terminal and the log, with the seconds since the start."""

    def __init__(self, path: Path) -> None:
        self.begin = time.monotonic()
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def say(self, text: str) -> None:
        line = f"[{time.monotonic() - self.begin:6.1f} s] {text}"
        print(line, flush=True)
        self.note(line)

    def note(self, text: str) -> None:
        """Write to the log only."""
        with self.path.open("a") as file:
            file.write(text + "\n")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = ", ".join([*GROUPS, "all", *(step.name for step in STEPS)])
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu run", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("gpu-results"), help="folder for the results")
    parser.add_argument("--steps", default="first", help=f"separated by commas, of {names}")
    parser.add_argument(
        "--again", default="", help="steps to run again, separated by commas; 'failed' means all failed steps"
    )
    parser.add_argument(
        "--minutes", type=float, default=8.0, help="time limit for everything; jobs that do not fit are skipped"
    )
    parser.add_argument("--most", type=int, help="largest number of jobs per step, spread over the step")
    parser.add_argument("--rehearse", action="store_true", help="without a GPU: tiny sizes, in Triton's interpreter")
    options = parser.parse_args(arguments)
    again = [word for word in options.again.split(",") if word]
    try:
        options.steps = chosen(options.steps.split(","))
        options.again = {step.name for step in chosen([word for word in again if word != "failed"])}
    except ValueError as reason:
        parser.error(f"--steps, --again: {reason}")
    options.failed = "failed" in again
    if not 0 < options.minutes <= 24 * 60:
        parser.error(f"--minutes: expected a number above 0, of a day at most, got {options.minutes}")
    if options.most is not None and options.most < 1:
        parser.error(f"--most: expected 1 or more, got {options.most}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    log = Log(options.results / "gpu.log")
    run = Run(options, log, Record.read(options.results / "gpu.json", log.say))
    try:
        return run.all_steps()
    except KeyboardInterrupt:
        run.record.write()
        log.say("interrupted; rerun the same command to resume")
        return 130


class Run:
    """The requested steps on this machine."""

    def __init__(self, options: argparse.Namespace, log: Log, record: Record) -> None:
        self.options, self.log, self.record = options, log, record
        self.until = log.begin + 60 * options.minutes
        self.environment = {REHEARSE: "1", "TRITON_INTERPRET": "1"} if options.rehearse else {}
        record.date = datetime.now(timezone.utc).date().isoformat()
        forget(record, options.again, options.failed)

    def all_steps(self) -> int:
        if not self.knows_machine():
            return 1
        for step in self.options.steps:
            results = self.record.steps.setdefault(step.name, Results())
            if results.left(self.options.most) == 0:
                if step is not TOOLS:
                    self.log.say(f"{step.name}: done before, {self.counts(results)}")
            else:
                self.do(step, results)
        self.record.write()
        self.log.say("\n" + summary(self.record))
        left = [step for step in self.options.steps if self.record.steps[step.name].left(self.options.most) != 0]
        for text in next_commands(self.options, left):
            self.log.say(text)
        return int(bool(left) or any(self.record.steps[step.name].number("failed") for step in self.options.steps))

    def do(self, step: Step, results: Results) -> None:
        limit = step.limit * (LONGER if self.options.rehearse else 1)
        until = min(self.until, time.monotonic() + limit)
        Team(step, self.record, self.log, until, self.environment, self.options.most).run()
        self.log.say(f"{step.name} ({step.tells}): {self.counts(results)}, {results.seconds:.0f} s")

    def knows_machine(self) -> bool:
        """Look at the machine. Results from another machine or other versions are not mixed with these."""
        before, here = self.record.steps.pop(TOOLS.name, None), Results()
        self.record.steps = {TOOLS.name: here, **self.record.steps}
        self.do(TOOLS, here)
        old, new = (found_of(results) for results in (before, here))
        if not new:
            self.log.say("the machine could not be examined; continuing without")
            return True
        if not new["is_there"]:
            self.log.say("torch sees no CUDA device here, so nothing can be run (use --rehearse to run without one)")
            return False
        if old and any(old[key] != new[key] for key in ("machine", "versions")):
            self.log.say("the existing results are from another machine or other versions")
            self.record.set_aside("other", self.log.say)
            self.record.steps = {TOOLS.name: here}
        elif old and old["sources"] != new["sources"]:
            self.log.say("the sources have changed; earlier results are kept (use --again STEP to repeat a step)")
        return True

    def counts(self, results: Results) -> str:
        parts = [f"{results.number(outcome)} {outcome}" for outcome in OUTCOMES if results.number(outcome)]
        left = results.left(self.options.most)
        if left != 0:
            why = f" ({results.problem})" if results.problem else ""
            parts.append(f"{'all' if left is None else left} left{why}")
        return ", ".join(parts) or "nothing to do"


def found_of(results: Results | None) -> dict[str, Any]:
    """Return what the first step found."""
    return results.items[TOOLS.name].found if results is not None and TOOLS.name in results.items else {}


def forget(record: Record, again: set[str], failed: bool) -> None:
    """Remove the results of the jobs to run again."""
    for name in again:
        record.steps.pop(name, None)
    if failed:
        for results in record.steps.values():
            results.items = {name: item for name, item in results.items.items() if item.outcome != "failed"}


def next_commands(options: argparse.Namespace, left: Sequence[Step]) -> list[str]:
    """Return the commands that can follow."""
    command = f"python -m benchmarks.gpu run --results {options.results}" + " --rehearse" * options.rehearse
    texts = []
    if left:
        texts.append(f"left over; go on with: {command} --steps '{','.join(step.name for step in left)}'")
    groups = {step.group for step in options.steps}
    texts += [f"next: {command} --steps {group}" for group in GROUPS if group not in groups]
    return texts
