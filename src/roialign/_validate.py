"""Validation of arguments other than arrays. Every error names the argument, what was expected and what was given."""

from __future__ import annotations

import math
import operator
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, SupportsIndex, TypeGuard, TypeVar

import numpy as np

_T = TypeVar("_T")

#: Larger coordinates count as infinite, because their products would overflow float64.
LARGEST_COORDINATE = 1e100
#: The maximum number of points per bin and axis. "exact" sampling is the limit of many points and costs less than four.
LARGEST_SAMPLING_RATIO = 65536
#: The maximum for pointwise operators, which visit every point of a bin, the square of this number.
LARGEST_POINTWISE_RATIO = 256
#: The maximum number of bins of a RoI. More would not fit into any memory.
LARGEST_BINS = 2**40


def check_choice(value: object, name: str, choices: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, choices))}, got {value!r}")


def check_layout(layout: object) -> None:
    check_choice(layout, "layout", ("NCHW", "NHWC"))


def check_bool(value: object, name: str) -> bool:
    if value is True or value is False:
        return value
    if isinstance(value, np.bool_) or _is_bool_tensor(value):
        return _known(bool, value, name, "True or False")
    raise TypeError(f"{name}: expected True or False, got {value!r}")


def _known(convert: Callable[[Any], _T], value: object, name: str, expected: str) -> _T:
    """Convert a value to one of Python. JAX raises a TypeError for a value that it traces."""
    try:
        return convert(value)
    except TypeError as error:
        raise TypeError(f"{name}: expected {expected}, got {value!r}, which has no value yet") from error


def _is_bool_tensor(value: Any) -> bool:
    """Whether a value is an array or a tensor of one bool, or a bool that torch traces."""
    torch: Any = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.SymBool):
        return True
    return getattr(value, "ndim", None) == 0 and str(value.dtype) in ("bool", "torch.bool")


def check_instance(value: object, name: str, kind: type, example: str = "") -> None:
    """Raise a TypeError unless `value` is an instance of a class. `example` is how to make one."""
    if not isinstance(value, kind):
        such_as = f", such as {example}" if example else ""
        raise TypeError(f"{name}: expected an instance of {kind.__name__}{such_as}, got {type(value).__name__}")


def check_path(value: object, name: str) -> Path:
    """Return a path that is given as text or as an object such as `pathlib.Path`."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name}: expected a path, got {value!r}")
    return Path(value)


def set_checked(settings: object, **values: object) -> None:
    """Set fields of a frozen dataclass to their checked values, which are those that JSON has, such as Python's int."""
    for name, value in values.items():
        object.__setattr__(settings, name, value)


def check_int(
    value: object,
    name: str,
    lowest: int,
    highest: int | None = None,
    *,
    given: object = None,
    expected: str = "an int",
    cause: str = "",
) -> int:
    """Check an int in a range.

    The message uses `given` and `expected` for an int within another value, and `cause` for what sets the maximum.
    """
    given = value if given is None else given
    if isinstance(value, int) and not isinstance(value, bool):
        number = value  # also for a value that torch traces
    elif isinstance(value, (bool, np.bool_)) or not _is_integer(value):
        raise TypeError(f"{name}: expected {expected}, got {given!r}")
    else:
        number = operator.index(value)
    if number < lowest:
        raise ValueError(f"{name}: expected at least {lowest}, got {given!r}")
    if highest is not None and number > highest:
        raise ValueError(f"{name}: expected at most {highest}{cause}, got {given!r}")
    return number


def _is_integer(value: Any) -> TypeGuard[SupportsIndex]:
    try:
        operator.index(value)
    except TypeError:  # also for an array of several integers
        return False
    return True


def check_pair(
    value: object, name: str, lowest: int, highest: int | None = None, *, cause: str = ""
) -> tuple[int, int]:
    """Check an int or a pair of ints (y, x), and return a pair."""
    pair = (value, value) if type(value) is int else value
    if type(pair) is tuple and len(pair) == 2 and type(pair[0]) is int and type(pair[1]) is int:
        # The usual case, which is fast because small calls are sensitive to overhead. Errors are raised below.
        along_y, along_x = pair
        if lowest <= along_y and lowest <= along_x and (highest is None or (along_y <= highest and along_x <= highest)):
            return along_y, along_x
    expected = "an int or a pair of ints (y, x)"
    items = as_list(value, name)
    if not isinstance(items, (tuple, list)):
        both = check_int(items, name, lowest, highest, expected=expected, cause=cause)
        return both, both
    if len(items) != 2:
        raise ValueError(f"{name}: expected an int or a pair (y, x), got {value!r}")
    return (
        check_int(items[0], name, lowest, highest, given=value, expected=expected, cause=cause),
        check_int(items[1], name, lowest, highest, given=value, expected=expected, cause=cause),
    )


def as_list(value: Any, name: str) -> Any:
    """Return a one-dimensional array or tensor as a list, and any other value as it is."""
    if not hasattr(value, "tolist") or getattr(value, "ndim", None) != 1:
        return value
    check_no_gradient(value, name)
    return _known(lambda array: array.tolist(), value, name, "numbers")


def check_no_gradient(value: object, name: str) -> None:
    """Check that a number is not a tensor that requires a gradient, which it would not get."""
    if getattr(value, "requires_grad", False) and sys.modules["torch"].is_grad_enabled():
        raise ValueError(
            f"{name}: expected a number, got a tensor that requires a gradient, but there is no gradient with respect "
            f"to {name}; use its detach()"
        )


def check_output_size(output_size: object, name: str = "output_size") -> tuple[int, int]:
    bins_y, bins_x = check_pair(output_size, name, 1, 2**31 - 1)
    if bins_y * bins_x > LARGEST_BINS:
        raise ValueError(f"{name}: expected at most 2**40 bins in all, got {output_size!r}")
    return bins_y, bins_x


def check_need(need: Sequence[str], names: Sequence[str]) -> Sequence[str]:
    """Check which gradients are requested: a subset of the differentiable arguments."""
    if not isinstance(need, Iterable):
        raise TypeError(f"need: expected one or several of {', '.join(map(repr, names))}, got {need!r}")
    wanted = (need,) if isinstance(need, str) else tuple(need)
    for name in wanted:
        check_choice(name, "need", tuple(names))
    return wanted


def check_sampling_ratio(
    sampling_ratio: object, largest: int = LARGEST_SAMPLING_RATIO, cause: str = "", *, name: str = "sampling_ratio"
) -> tuple[int, int]:
    """Return the points per bin along (y, x). 0 and torchvision's -1 are adaptive. `cause` is what sets the maximum."""
    if type(sampling_ratio) is int and 0 <= sampling_ratio <= largest:  # the usual case, which is fast
        return sampling_ratio, sampling_ratio
    if isinstance(sampling_ratio, int) and sampling_ratio > largest == LARGEST_SAMPLING_RATIO:
        raise ValueError(
            f"{name}: expected at most {largest}, got {sampling_ratio}; "
            "sampling='exact' is the limit of infinitely many points"
        )
    along_y, along_x = check_pair(sampling_ratio, name, -1, largest, cause=cause)
    return max(along_y, 0), max(along_x, 0)


def check_number(value: object, name: str, *, positive: bool = False) -> float:
    try:
        if type(value) is float:
            number = value
        elif type(value) is int:  # also for a value that torch traces
            number = float(value)
        elif isinstance(value, (bool, str, bytes)) or not hasattr(value, "__float__") or np.ndim(value) != 0:  # type: ignore[arg-type]
            raise TypeError(f"{name}: expected a number, got {value!r}")
        else:
            check_no_gradient(value, name)
            number = _known(float, value, name, "a number")
    except OverflowError:
        raise ValueError(f"{name}: expected a number up to {LARGEST_COORDINATE:g}, got a larger integer") from None
    # Comparisons are False for NaN, and can be traced.
    if not -math.inf < number < math.inf or (positive and not 0 < number <= LARGEST_COORDINATE):
        limit = f" up to {LARGEST_COORDINATE:g}" if positive and LARGEST_COORDINATE < number < math.inf else ""
        raise ValueError(f"{name}: expected a {'positive' if positive else 'finite'} number{limit}, got {value!r}")
    return number


def check_number_in(value: object, name: str, lowest: float, highest: float | None = None) -> float:
    """Check a number in a range."""
    number = check_number(value, name)
    if number < lowest or (highest is not None and number > highest):
        bounds = f"of at least {lowest:g}" if highest is None else f"from {lowest:g} to {highest:g}"
        raise ValueError(f"{name}: expected a number {bounds}, got {value!r}")
    return number


def check_two(value: object, name: str, what: str, check: Callable[[object, str], _T]) -> tuple[_T, _T]:
    """Check two values that stand together, each with a function of it and its name. `what` says what they are."""
    items = as_list(value, name)
    if not isinstance(items, (list, tuple)):
        raise TypeError(f"{name}: expected a pair {what}, got {value!r}")
    if len(items) != 2:
        raise ValueError(f"{name}: expected a pair {what}, got {value!r}")
    return check(items[0], f"{name}[0]"), check(items[1], f"{name}[1]")


def check_places(shape: Sequence[int], strides: Sequence[int], element: int, name: str) -> None:
    """Check that no two elements of a buffer share memory: that each axis steps over all within it."""
    if 0 in shape:
        return  # no elements; the strides of NumPy's empty arrays are 0
    reach = element
    for stride, size in sorted((abs(stride), size) for stride, size in zip(strides, shape, strict=True) if size > 1):
        if stride < reach:
            raise ValueError(f"{name}: expected elements that do not overlap, got strides {tuple(strides)}")
        reach += stride * (size - 1)


def check_scales(spatial_scales: object, count: int | None = None) -> list[float]:
    """Check that there is one positive scale per level."""
    spatial_scales = as_list(spatial_scales, "spatial_scales")
    if isinstance(spatial_scales, (str, bytes)) or not isinstance(spatial_scales, (Sequence, np.ndarray)):
        raise TypeError(f"spatial_scales: expected a sequence of numbers, got {spatial_scales!r}")
    scales = [
        scale  # the usual case, fast because small calls are sensitive to overhead
        if type(scale) is float and 0 < scale <= LARGEST_COORDINATE
        else check_number(scale, f"spatial_scales[{index}]", positive=True)
        for index, scale in enumerate(spatial_scales)
    ]
    if not scales or (count is not None and len(scales) != count):
        raise ValueError(f"spatial_scales: expected one scale per level ({count or 'at least 1'}), got {len(scales)}")
    return scales


def check_seed(seed: object, *, drawn: bool, name: str = "seed") -> int:
    """Return the key of random sampling, from an int or a NumPy generator. If `drawn`, None draws a new one."""
    if seed is None and drawn:
        seed = np.random.default_rng()
    if isinstance(seed, np.random.Generator) and drawn:
        return int(seed.integers(2**63))
    if isinstance(seed, int) and not isinstance(seed, bool):
        number = seed
    elif isinstance(seed, (bool, np.bool_)) or not _is_integer(seed):
        expected = "an int or a numpy.random.Generator" if drawn else "the int that the forward pass was given"
        raise TypeError(f"{name}: expected {expected}, got {seed!r}")
    else:
        number = operator.index(seed)
    if not 0 <= number < 2**64:
        raise ValueError(f"{name}: expected 0 <= seed < 2**64, got {number}")
    return number
