"""What `roialign train` says while it runs: lines of losses, the time left, what was measured, what was kept."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.console import Console

from .._text import counted
from .terminal import Advance, print_line

if TYPE_CHECKING:
    from ..detection.training import Event, OtherSettingsError

#: Settings that the options of `roialign train` do not call by their own names; those of `--size` and of the set are
#: several each.
OPTION_NAMES = {"precision": "--amp"}
OF_SIZE = ("width", "out_channels", "hidden", "mask_hidden", "proposals", "regions", "norm_groups")
OF_SET = {
    "classes": "the classes of --data",
    "category_ids": "the classes of --data",
    "min_size": "the size of the images of --data",
    "max_size": "the size of the images of --data",
}


class Reporter:
    """Prints what a run says, a line of losses after every so many steps and after the first and the last."""

    def __init__(
        self, console: Console, advance: Advance, every: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console, self._advance, self._every, self._clock = console, advance, every, clock
        self._steps = self._first = 0
        self._begun = self._since = 0.0
        self._last = 0
        self.saved = 0
        """The step that the last checkpoint holds; 0 where there is none."""
        self.reached = 0
        """The last step that was done."""

    def __call__(self, event: Event) -> None:
        from ..detection.training import Measured, Saved, Started, Stepped

        if isinstance(event, Started):
            self._start(event.iteration, event.iterations)
        elif isinstance(event, Stepped):
            self._step(event.iteration, event.losses)
        elif isinstance(event, Measured):
            self._say(f"step {event.iteration} of {self._steps}: {precision_line(event.figures)}")
            self._since, self._last = self._clock(), event.iteration  # the steps alone are timed
        elif isinstance(event, Saved):
            self.saved = event.iteration

    def kept_text(self, run: Path) -> str:
        """What there is of a run that is left now."""
        if self.saved == 0:
            return "stopped before the first checkpoint; nothing is kept"
        kept = "it" if self.saved == self.reached else f"step {self.saved}"
        then = "and the same command continues from there"
        return f"stopped after step {self.reached}; {run} keeps {kept}, {then}"

    def _start(self, iteration: int, iterations: int) -> None:
        self._steps, self.reached, self.saved = iterations, iteration, iteration
        self._first = self._last = iteration
        self._begun = self._since = self._clock()
        self._advance(iteration)
        if 0 < iteration < iterations:
            self._say(f"continues from step {iteration} of {iterations}")
        elif iteration == iterations:
            self._say(f"all {iterations} steps are done already; a larger --iterations makes the run longer")

    def _step(self, iteration: int, losses: Mapping[str, float]) -> None:
        self._advance()
        self.reached = iteration
        if iteration % self._every and iteration not in (self._first + 1, self._steps):
            return
        now = self._clock()
        parts = ", ".join(f"{name.removeprefix('loss_')} {value:.3f}" for name, value in losses.items())
        pace = (now - self._since) / max(iteration - self._last, 1)
        # What is left includes the time of checkpoints and measurements so far.
        left = (now - self._begun) / (iteration - self._first) * (self._steps - iteration)
        more = f", {duration(left)} left" if iteration < self._steps else ""
        total = sum(losses.values())
        self._say(f"step {iteration} of {self._steps}: loss {total:.3f} ({parts}), {pace:.2f} s per step{more}")
        self._since, self._last = now, iteration

    def _say(self, text: str) -> None:
        print_line(self._console, text)


def precision_line(figures: Mapping[str, Any]) -> str:
    """Average precision in a line."""
    kinds = ", ".join(
        f"{kind.replace('_', ' ')} {_percent(figures[kind]['AP'])} (AP50 {_percent(figures[kind]['AP50'])})"
        for kind in ("box", "mask", "rotated_box")
        if kind in figures
    )
    return f"average precision on {counted(figures['images'], 'image')}: {kinds}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def duration(seconds: float) -> str:
    """A time as people say it.

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
    """What a run began with, in the words of the options, and the ways out."""
    texts: dict[str, None] = {}
    for name, (old, new) in error.differences.items():
        plain = name.rpartition(".")[2]
        if plain in OF_SIZE and name.startswith("detector."):
            texts["--size was another"] = None
        elif plain in OF_SET:
            texts[f"{OF_SET[plain]} were others" if plain == "classes" else f"{OF_SET[plain]} was another"] = None
        else:
            texts[f"{OPTION_NAMES.get(plain, '--' + plain.replace('_', '-'))} was {old}, not {new}"] = None
    return (
        f"{error.run}: the run began with other settings: {'; '.join(texts)}. To continue it, give what it began with; "
        "to begin another, give another --out"
    )


@contextmanager
def stopped_by_interrupt(console: Console, *, alone: bool) -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed: the first time it asks for an end, the second time it is a KeyboardInterrupt.

    Several processes would stop at different steps and wait for each other, so for them it is one at once.
    """
    pressed = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        del number, frame
        if pressed:
            raise KeyboardInterrupt
        pressed = True
        print_line(console, "stopping after this step; Ctrl-C again stops at once")

    if not alone or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
