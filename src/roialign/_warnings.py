"""Warnings for calls that are valid but probably a mistake."""

from __future__ import annotations

import math
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ._regions import Regions
from ._spec import Spec
from ._text import counted

#: The bits by which the compiled core reports suspicious RoIs of a call.
INVERTED_BOXES, NO_BOX_ON_THE_MAP = 1, 2
SILENCE = "silence this with warnings.filterwarnings('ignore', category=roialign.RoIWarning)"


class RoIWarning(UserWarning):
    """A warning about arguments that are valid but probably a mistake.

    It is raised if

    - boxes are inverted (x2 < x1 or y2 < y1), for example because they are (x, y, width, height);
    - no box of a call touches its map, for example because the stride was given instead of the scale;
    - an argument is given that the call does not use, such as a sampling ratio with exact sampling;
    - the values of an image are far from the range that a detector or a backbone expects (once for each).

    The warning is raised on the CPU in eager mode only. Compiled, exported, batched and recorded functions never warn.
    Calls with CUDA tensors do not warn either, because checking the values would synchronise with the device.

    Examples
    --------
    >>> import warnings
    >>> import roialign
    >>> warnings.filterwarnings("ignore", category=roialign.RoIWarning)
    """


class RoIReport(NamedTuple):
    """What the core reported about the RoIs of a call."""

    suspicions: int
    regions: Regions
    map_sizes: Sequence[tuple[int, int]]
    """The height and width of each level."""


class _LastCall(threading.local):
    report: RoIReport | None = None
    silent: bool = False
    #: How functions with other names for their arguments change a message, the outermost function first.
    renamings: tuple[Callable[[str], str], ...] = ()


#: A backend stores its report here, and an eager call reads it. The code in between returns results only.
last_call = _LastCall()


@contextmanager
def without_warnings() -> Iterator[None]:
    """Do not warn in this thread. (`warnings.catch_warnings` would change the filters of all threads.)"""
    before, last_call.silent = last_call.silent, True
    try:
        yield
    finally:
        last_call.silent = before


def warn_of_rois(report: RoIReport, name: str) -> None:
    """Warn about suspicious RoIs of a call."""
    rows = report.regions.rows
    rows = rows[rows[:, 0] >= 0]
    if report.suspicions & INVERTED_BOXES:
        rotated = rows.shape[1] == 6
        wrong = (rows[:, 3:5] < 0).any(axis=1) if rotated else (rows[:, 3:5] < rows[:, 1:3]).any(axis=1)
        first = tuple(rows[np.argmax(wrong), 1:].tolist())
        if rotated:
            names = "centre x, centre y, width, height, angle in radians"
            what = f"a negative width or height; the first is ({names}) = {first}"
        else:
            what = (
                f"x2 < x1 or y2 < y1; the first is (x1, y1, x2, y2) = {first}. "
                "Convert (x, y, width, height) boxes to corners first"
            )
        warn(f"{name}: {counted(int(wrong.sum()), 'box', 'boxes')} of {len(rows)} with {what}")
    if report.suspicions & NO_BOX_ON_THE_MAP:
        height, width = report.map_sizes[int(report.regions.levels[0])]
        scales = [float(scale) for scale in report.regions.scales]
        argument = "spatial_scale" if len(scales) == 1 else "spatial_scales"
        hint = ""
        if any(scale > 1 for scale in scales):
            hint = f"; this looks like a stride: for stride {max(scales):g}, give 1 / {max(scales):g}"
        warn(
            f"{name}: no box touches its map of {height} x {width} pixels, so the whole output is zero. "
            f"{argument}: expected feature pixels per image pixel, got {', '.join(f'{s:g}' for s in scales)}{hint}"
        )


def warn_of_arguments(spec: Spec, seed: object) -> None:
    """Warn about arguments of a forward call that are given but not used."""
    if spec.sampling_ratio != (0, 0) and not spec.reads_sampling_ratio():
        along_y, along_x = spec.sampling_ratio
        warn_ignored("sampling_ratio", along_y if along_y == along_x else (along_y, along_x), "with sampling='exact'")
    if seed is not None and spec.rule != "random":
        warn_ignored("seed", seed, "unless sampling='random'")


def warn_ignored(name: str, value: object, when: str) -> None:
    """Warn that an argument is given but not used."""
    warn(f"{name}: {value!r} is ignored {when}")


def warn_of_values(name: str, lowest: float, highest: float, largest: int) -> None:
    """Warn that the values of an image are not from 0 to `largest`."""
    is_nan = math.isnan(lowest) or math.isnan(highest)
    got = "NaN" if is_nan else f"{lowest:g} to {highest:g}; scale them"
    warn(f"{name}: expected values from 0 to {largest}, got {got}")


def warn(message: str) -> None:
    """Issue a warning for the line that called this package."""
    if not (last_call.silent or is_recorded()):
        for renaming in reversed(last_call.renamings):
            message = renaming(message)
        warnings.warn(f"{message}; {SILENCE}", RoIWarning, stacklevel=caller_level())


def caller_level() -> int:
    """Return the `stacklevel` of a warning for the line that called this package, maybe by a module of torch."""
    torch_file = getattr(sys.modules.get("torch"), "__file__", None)
    inner = tuple(f"{Path(file).parent}{os.sep}" for file in (__file__, torch_file) if file is not None)
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(inner):
        frame, level = frame.f_back, level + 1
    return level


def is_recorded() -> bool:
    """Whether torch is recording or batching the call. This does not import torch."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    return bool(
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch._C._are_functorch_transforms_active()
        or torch._C._len_torch_dispatch_stack() > 0
    )
