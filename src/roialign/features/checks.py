"""Checks of values that callers from Python give, before anything is loaded or written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from .. import _validate


def check_text(value: object, name: str) -> None:
    """Check that a value is a string."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a string, got {value!r}")


def check_optional_text(value: object, name: str) -> None:
    """Check that a value is a string or None."""
    if value is not None:
        check_text(value, name)


def check_optional_int(value: object, name: str, lowest: int) -> int | None:
    """Check that a value is None or an integer of at least `lowest`."""
    return None if value is None else _validate.check_int(value, name, lowest)


def _is_sequence(value: object) -> TypeGuard[Sequence[Any]]:
    """Whether a value is a sequence, but not a string."""
    return isinstance(value, Sequence) and not isinstance(value, str)


def check_image_size(value: object) -> int | tuple[int, int] | None:
    """Check that a value is None, the length of the shorter side, or a height and a width."""
    if _is_sequence(value):
        return _validate.check_pair(value, "image_size", 1)
    return check_optional_int(value, "image_size", 1)


def check_channels(value: object, name: str, *, positive: bool = False) -> tuple[float, float, float]:
    """Check the numbers of the three channels: finite as float32, or `positive`."""
    numbers = _validate.as_list(value, name)
    what = f"three {'positive' if positive else 'finite'} numbers, one per channel"
    if not _is_sequence(numbers):
        raise TypeError(f"{name}: expected {what}, got {value!r}")
    if len(numbers) != 3:
        raise ValueError(f"{name}: expected {what}, got {value!r}")
    red, green, blue = (_check_single(number, f"{name}[{index}]", positive) for index, number in enumerate(numbers))
    return red, green, blue


def _check_single(value: object, name: str, positive: bool) -> float:
    """Check a number that will be converted to float32."""
    number = _validate.check_number(value, name, positive=positive)
    with np.errstate(over="ignore"):
        single = np.float32(number)
    if not np.isfinite(single) or (positive and single == 0):
        raise ValueError(f"{name}: expected a number in the range of float32, got {value!r}")
    return number


def check_sizes(value: object, name: str = "sizes") -> tuple[tuple[int, int], ...]:
    """Check the output sizes: pairs (rows, columns), at least one, each once."""
    pairs = list(value) if _is_sequence(value) else []
    if not pairs or not all(map(_is_sequence, pairs)):
        raise TypeError(f"{name}: expected pairs (rows, columns), such as ((7, 7), (1, 1)), got {value!r}")
    sizes = tuple(_validate.check_output_size(pair, name) for pair in pairs)
    if len(set(sizes)) < len(sizes):
        raise ValueError(f"{name}: expected sizes, each once, got {list(sizes)}")
    return sizes


def check_paths(images: Iterable[Any]) -> list[Path]:
    """Check the images: several paths, as strings or Path objects."""
    if isinstance(images, (str, Path)) or not isinstance(images, Iterable):
        raise TypeError(f"images: expected a sequence of paths, got {images!r}")
    paths = []
    for number, image in enumerate(images):
        if not isinstance(image, (str, Path)):
            raise TypeError(f"images: expected paths, got {image!r} at index {number}")
        paths.append(image if isinstance(image, Path) else Path(image))
    return paths


def check_part(part: object) -> tuple[int, int]:
    """Check (number, count): `number` is from 1 to `count`."""
    if not _is_sequence(part) or len(part) != 2:
        raise TypeError(f"part: expected (number, count), got {part!r}")
    count = _validate.check_int(part[1], "part: count", 1)
    return _validate.check_int(part[0], "part: number", 1, count), count
