"""The output of `roialign train`: losses, remaining time, average precision, and saved checkpoints."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.console import Console

from .._signals import is_ignored
from .._text import counted
from .terminal import Advance, option_of, print_line, with_options

if TYPE_CHECKING:
    from ..detection.training import Event, OtherSettingsError

#: The settings whose option of `roialign train` has another name, the settings determined by `--size`, and the settings
#: determined by the dataset.
OPTION_NAMES = {"precision": "--amp"}
OF_SIZE = ("width", "out_channels", "hidden", "mask_hidden", "proposals", "regions", "norm_groups")
OF_SET = {
    "classes": "the classes of --data",
    "category_ids": "the classes of --data",
    "min_size": "the size of the images of --data",
    "max_size": "the size of the images of --data",
}
#: The settings of a detector that have an option of their own.
OF_DETECTOR = ("model", "backbone", "pooler")

#: The time between lines while images are cut into patches, in seconds.
SECONDS_PER_CUT = 5.0


class Reporter:
    """Prints the events of a run. Losses are printed after every `every` steps, the first step and the last step."""

    def __init__(
        self, console: Console, advance: Advance, every: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console, self._advance, self._every, self._clock = console, advance, every, clock
        self._steps = self._first = 0
        self._begun = self._since = 0.0
        self._cut_since: float | None = None
        self._last = 0
        self.saved = 0
        """The step of the last checkpoint; 0 if there is none."""
        self.reached = 0
        """The last completed step."""

    def __call__(self, event: Event) -> None:
        from ..detection.training import Cut, Measured, Saved, Started, Stepped

        if isinstance(event, Cut):
            self._cut(event.done, event.patches)
        elif isinstance(event, Started):
            self._start(event.iteration, event.iterations)
        elif isinstance(event, Stepped):
            self._step(event.iteration, event.losses)
        elif isinstance(event, Measured):
            self._say(f"step {event.iteration} of {self._steps}: {precision_line(event.figures)}")
            self._since, self._last = self._clock(), event.iteration  # exclude the measurement from the step time
        elif isinstance(event, Saved):
            self.saved = event.iteration

    def kept_text(self, run: Path) -> str:
        """Return a message about what is saved of a run that stops now."""
        if self.saved == 0:
            return "stopped before the first checkpoint; nothing is saved"
        saved = "this step" if self.saved == self.reached else f"step {self.saved}"
        return f"stopped after step {self.reached}; {run} has a checkpoint of {saved}; rerun the same command to resume"

    def _cut(self, done: int, patches: int) -> None:
        now = self._clock()
        if self._cut_since is None:
            self._cut_since = now
        if now - self._cut_since >= SECONDS_PER_CUT:
            self._say(f"cut {done} of {patches} patches")
            self._cut_since = now

    def _start(self, iteration: int, iterations: int) -> None:
        self._steps, self.reached, self.saved = iterations, iteration, iteration
        self._first = self._last = iteration
        self._begun = self._since = self._clock()
        self._advance(iteration)
        if 0 < iteration < iterations:
            self._say(f"resuming from step {iteration} of {iterations}")
        elif iteration == iterations:
            self._say(f"all {iterations} steps are done already; give a larger --iterations to extend the run")

    def _step(self, iteration: int, losses: Mapping[str, float]) -> None:
        self._advance()
        self.reached = iteration
        if iteration % self._every and iteration not in (self._first + 1, self._steps):
            return
        now = self._clock()
        parts = ", ".join(f"{name.removeprefix('loss_')} {_rounded(value)}" for name, value in losses.items())
        pace = (now - self._since) / max(iteration - self._last, 1)
        # The estimate includes the time of checkpoints and measurements.
        left = (now - self._begun) / (iteration - self._first) * (self._steps - iteration)
        more = f", {duration(left)} left" if iteration < self._steps else ""
        total = sum(losses.values())
        self._say(f"step {iteration} of {self._steps}: loss {_rounded(total)} ({parts}), {pace:.2f} s per step{more}")
        self._since, self._last = now, iteration

    def _say(self, text: str) -> None:
        print_line(self._console, text)


def precision_line(figures: Mapping[str, Any]) -> str:
    """Format average precision as a line."""
    kinds = ", ".join(
        f"{kind.replace('_', ' ')} {_percent(figures[kind]['AP'])} (AP50 {_percent(figures[kind]['AP50'])})"
        for kind in ("box", "mask", "rotated_box")
        if kind in figures
    )
    return f"average precision on {counted(figures['images'], 'image')}: {kinds}"


def _rounded(loss: float) -> str:
    """A loss with three decimals. Zero has no sign."""
    return f"{round(loss, 3) + 0.0:.3f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def duration(seconds: float) -> str:
    """Format a duration.

    >>> duration(7.2), duration(452.0), duration(90061.0)
    ('7 s', '7 min 32 s', '25 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def differences_text(error: OtherSettingsError) -> str:
    """Return a message with the differing options of a run and what to do about them."""
    texts: dict[str, None] = {}
    cut_otherwise = "patch_size" in error.differences
    for name, (old, new) in error.differences.items():
        plain = name.rpartition(".")[2]
        if cut_otherwise and plain in ("min_size", "max_size", "patch_overlap"):  # these follow from --patch-size
            continue
        if plain in OF_SIZE and name.startswith("detector."):
            texts["--size was different"] = None
        elif plain in OF_SET:
            texts[f"{OF_SET[plain]} {'were' if plain == 'classes' else 'was'} different"] = None
        else:
            before, now = ("not given" if value is None else value for value in (old, new))
            after = f"not {now}" if None not in (old, new) else f"and is {now} now"
            texts[f"{_option(plain)} was {before}, {after}"] = None
    return (
        f"{error.run}: the run was started with other settings: {'; '.join(texts)}. To resume it, give these settings; "
        "to start a new run, give another --out"
    )


def settings_text(error: Exception) -> object:
    """Return an error, with options in place of the settings that its message begins with."""
    from ..detection.training import TrainSettings

    settings = [*(field.name for field in fields(TrainSettings)), *OF_DETECTOR]
    return with_options(error, {name: _option(name) for name in settings})


def _option(setting: str) -> str:
    """Return the option of `roialign train` that gives a setting."""
    return OPTION_NAMES.get(setting) or option_of(setting)


@dataclass
class Interruption:
    """Whether a command is to stop, and the signal that asked for it."""

    number: int = 0
    """SIGINT, SIGTERM, or 0."""

    def __call__(self) -> bool:
        return self.number != 0

    @property
    def exit_code(self) -> int:
        """The exit code of shells for this signal: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + (self.number or signal.SIGINT)


@contextmanager
def stopped_by_interrupt(console: Console, *, alone: bool) -> Iterator[Interruption]:
    """Yield an object that tells whether Ctrl-C was pressed or SIGTERM was sent, as cluster schedulers do.

    A second signal raises KeyboardInterrupt. If not `alone`, the first Ctrl-C raises KeyboardInterrupt, because several
    processes would stop at different steps and wait for each other. A signal that the process was started to ignore is
    still ignored.
    """
    stop = Interruption()

    def ask(number: int, frame: FrameType | None) -> None:
        del frame
        has_stopped, stop.number = stop(), number
        if has_stopped:
            raise KeyboardInterrupt
        again = "press Ctrl-C again to stop at once" if number == signal.SIGINT else "SIGTERM was received"
        print_line(console, f"stopping after this step; {again}")

    if not alone or threading.current_thread() is not threading.main_thread():
        yield stop
        return
    heard = [number for number in (signal.SIGINT, signal.SIGTERM) if not is_ignored(number)]
    before = {number: signal.signal(number, ask) for number in heard}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
