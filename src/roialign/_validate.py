"""What a user can get wrong, said in one place: every check names the argument, the row, the expected and the found."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ._typing import Array

SUPPORTED_DTYPES = ("float64", "float32", "float16", "bfloat16")
#: Larger coordinates count as infinite: their products would leave the range of float64.
LARGEST_COORDINATE = 1e100
#: More points per bin and axis than this are refused: "exact" sampling is their limit, and costs less than four.
LARGEST_SAMPLING_RATIO = 65536
#: The same where every point of a bin is looked at, which are as many as the square.
LARGEST_POINTWISE_RATIO = 256


def check_array(value: object, name: str) -> Array:
    """The value itself, if it is a NumPy array."""
    if isinstance(value, np.ndarray):
        return value
    kind = type(value)
    full_name = f"{kind.__module__}.{kind.__qualname__}"
    framework = kind.__module__.partition(".")[0]
    if framework == "torch":
        raise TypeError(f"{name}: expected a numpy.ndarray, as the other arguments are, got {full_name}")
    if framework in ("jax", "jaxlib"):
        raise TypeError(
            f"{name}: got {full_name}, and this version of roialign takes NumPy arrays and torch tensors only; "
            "convert with numpy.asarray"
        )
    raise TypeError(f"{name}: expected a numpy.ndarray, got {full_name}")


def check_choice(value: object, name: str, choices: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, choices))}, got {value!r}")


def check_features(features: object, layout: str, name: str = "features") -> Array:
    """`features` seen as ``[N, C, H, W]``, whatever its layout; never a copy."""
    array = check_array(features, name)
    if array.ndim != 4:
        raise ValueError(f"{name}: expected 4 dimensions {'[' + ', '.join(layout) + ']'}, got shape {array.shape}")
    check_float_dtype(array, name)
    seen = nchw(array, layout)
    if seen.shape[2] == 0 or seen.shape[3] == 0:
        raise ValueError(f"{name}: expected a map of at least 1 x 1 pixels, got shape {array.shape} ({layout})")
    return seen


def check_float_dtype(array: Array, name: str) -> None:
    if not is_supported(array.dtype):
        raise TypeError(f"{name}: expected dtype {', '.join(SUPPORTED_DTYPES)}, got {array.dtype}")


@lru_cache
def is_supported(dtype: np.dtype[Any]) -> bool:
    return dtype.name in SUPPORTED_DTYPES and dtype.isnative


@lru_cache
def is_real(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "iu" or dtype.name in SUPPORTED_DTYPES


def nchw(array: Array, layout: str) -> Array:
    """A four-dimensional array of the given layout, seen as NCHW."""
    return array if layout == "NCHW" else array.transpose(0, 3, 1, 2)


def check_layout(layout: object) -> None:
    check_choice(layout, "layout", ("NCHW", "NHWC"))


def check_levels_alike(features: Sequence[Array]) -> None:
    """All levels of a pyramid hold the same images, channels and dtype."""
    first = features[0]
    for index, level in enumerate(features):
        if level.shape[:2] != first.shape[:2]:
            raise ValueError(
                f"features[{index}]: expected the images and channels of features[0], "
                f"{first.shape[0]} and {first.shape[1]}, got {level.shape[0]} and {level.shape[1]}"
            )
        if level.dtype != first.dtype:
            raise TypeError(f"features[{index}]: expected the dtype of features[0], {first.dtype}, got {level.dtype}")


def check_int(
    value: object, name: str, lowest: int, highest: int | None = None, *, given: object = None, expected: str = "an int"
) -> int:
    """An int in a range; `given` and `expected` are what the message says where the int is part of something."""
    given = value if given is None else given
    if isinstance(value, int) and not isinstance(value, bool):
        number = value  # also where torch traces it
    elif isinstance(value, (bool, np.bool_)) or not hasattr(value, "__index__"):
        raise TypeError(f"{name}: expected {expected}, got {given!r}")
    else:
        number = operator.index(value)
    if number < lowest:
        raise ValueError(f"{name}: expected at least {lowest}, got {given!r}")
    if highest is not None and number > highest:
        raise ValueError(f"{name}: expected at most {highest}, got {given!r}")
    return number


def check_pair(value: object, name: str, lowest: int, highest: int | None = None) -> tuple[int, int]:
    """An int, or a pair of them along (y, x)."""
    expected = "an int or a pair of ints (y, x)"
    if not isinstance(value, (tuple, list)):
        both = check_int(value, name, lowest, highest, expected=expected)
        return both, both
    if len(value) != 2:
        raise ValueError(f"{name}: expected an int or a pair (y, x), got {value!r}")
    return (
        check_int(value[0], name, lowest, highest, given=value, expected=expected),
        check_int(value[1], name, lowest, highest, given=value, expected=expected),
    )


def check_output_size(output_size: object, name: str = "output_size") -> tuple[int, int]:
    return check_pair(output_size, name, 1, 2**31 - 1)


def check_sampling_ratio(sampling_ratio: object, largest: int = LARGEST_SAMPLING_RATIO) -> tuple[int, int]:
    """Points per bin along (y, x); 0 and torchvision's -1 are adaptive."""
    if isinstance(sampling_ratio, int) and sampling_ratio > largest == LARGEST_SAMPLING_RATIO:
        raise ValueError(
            f"sampling_ratio: expected at most {largest}, got {sampling_ratio}; "
            "for the limit of infinitely many points use sampling='exact'"
        )
    along_y, along_x = check_pair(sampling_ratio, "sampling_ratio", -1, largest)
    return max(along_y, 0), max(along_x, 0)


def check_number(value: object, name: str, *, positive: bool = False) -> float:
    if type(value) is float:
        number = value
    elif isinstance(value, (bool, str, bytes)) or not hasattr(value, "__float__") or np.ndim(value) != 0:  # type: ignore[arg-type]
        raise TypeError(f"{name}: expected a number, got {value!r}")
    else:
        number = float(value)
    # Comparisons, which are false for NaN and can be traced.
    if not -math.inf < number < math.inf or (positive and not 0 < number <= LARGEST_COORDINATE):
        raise ValueError(f"{name}: expected a {'positive' if positive else 'finite'} number, got {value!r}")
    return number


def check_scales(spatial_scales: object, count: int | None = None) -> list[float]:
    """One positive scale per level."""
    if isinstance(spatial_scales, (str, bytes)) or not isinstance(spatial_scales, (Sequence, np.ndarray)):
        raise TypeError(f"spatial_scales: expected a sequence of numbers, got {spatial_scales!r}")
    scales = [
        check_number(scale, f"spatial_scales[{index}]", positive=True) for index, scale in enumerate(spatial_scales)
    ]
    if not scales or (count is not None and len(scales) != count):
        raise ValueError(f"spatial_scales: expected one per level ({count or 'at least 1'}), got {len(scales)}")
    return scales


def check_seed(seed: object, *, drawn: bool) -> int:
    """The key of random sampling: an int, a NumPy generator that draws one, or, where `drawn`, None for a fresh one."""
    if seed is None and drawn:
        seed = np.random.default_rng()
    if isinstance(seed, np.random.Generator) and drawn:
        return int(seed.integers(2**63))
    if isinstance(seed, int) and not isinstance(seed, bool):
        number = seed
    elif isinstance(seed, (bool, np.bool_)) or not hasattr(seed, "__index__"):
        expected = "an int or a numpy.random.Generator" if drawn else "the int that the forward pass was given"
        raise TypeError(f"seed: expected {expected}, got {seed!r}")
    else:
        number = operator.index(seed)
    if not 0 <= number < 2**64:
        raise ValueError(f"seed: expected 0 <= seed < 2**64, got {number}")
    return number


def check_out(
    out: object, shape: tuple[int, ...], dtype: np.dtype[Any], inputs: Sequence[Array], name: str = "out"
) -> Array:
    """A buffer that the answer can be written into."""
    array = check_array(out, name)
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    if array.dtype != dtype:
        raise TypeError(f"{name}: expected dtype {dtype}, got {array.dtype}")
    if not array.flags.writeable:
        raise ValueError(f"{name}: expected a writeable array, got a read-only one")
    if any(size > 1 and stride == 0 for size, stride in zip(array.shape, array.strides, strict=True)):
        raise ValueError(f"{name}: expected every element to have a place of its own, got strides {array.strides}")
    if any(np.may_share_memory(array, given) for given in inputs):
        raise ValueError(f"{name}: expected memory of its own, got memory that an input uses")
    return array


@dataclass(frozen=True, slots=True)
class Rois:
    """RoIs in the one form that every backend takes, and the way back to the form they came in."""

    rows: Array
    """``[K, 5]`` float64 rows (image, x1, y1, x2, y2), or ``[K, 6]`` with the five numbers of a rotated box; image -1
    marks a row whose answer is zero."""
    restore: Callable[[Array], Any]
    """Gradients, rows without an image, in the structure and dtype of the RoIs as given."""


def columns_of(name: str, numbers: int = 4) -> tuple[int, ...]:
    """Where the user of an argument gives x1, y1, x2, y2: crop_and_resize's `boxes` are in TensorFlow's order."""
    return (1, 0, 3, 2) if name == "boxes" else tuple(range(numbers))


#: What the name of an argument ends in where it is a list of one array per image, and the rows are those of all images.
OF_LIST = "[]"
#: How the rows of RoIs read, by how many numbers describe a box.
ROW_OF = {4: "(image, x1, y1, x2, y2)", 5: "(image, centre x, centre y, width, height, angle)"}


def check_rois(
    rois: object,
    images: int,
    batch_indices: object = None,
    invalid: str | None = None,
    name: str = "rois",
    numbers: int = 4,
) -> Rois:
    """``[K, 5]`` rows, or one ``[L, 4]`` array per image, or ``[K, 4]`` boxes with `batch_indices`.

    `numbers` is how many describe a box: 5 where it is rotated.
    """
    if invalid is not None:
        check_choice(invalid, "invalid", ("raise", "zero"))
    if isinstance(rois, (list, tuple)):
        rows, restore = _rows_of_list(rois, images, batch_indices, name, numbers)
        name += OF_LIST
    else:
        rows, restore = _rows_of_array(check_array(rois, name), batch_indices, name, numbers)
    # One image and ordinary coordinates, the usual call, take two reductions: most calls are small.
    if not (np.vdot(rows, rows) <= LARGEST_COORDINATE**2 and not rows[:, 0].any() and images > 0):
        rows = _check_rows(rows, images, invalid, name)
    return Rois(rows, restore)


def _check_rows(rows: Array, images: int, invalid: str | None, name: str) -> Array:
    """The rows, those that are not valid marked as RoIs without an image, if that is what `invalid` asks for."""
    image, largest = rows[:, 0], LARGEST_COORDINATE
    valid = (image >= 0) & (image < images) & (image == np.rint(image))
    valid &= (np.abs(rows[:, 1:]) <= largest).all(axis=1)  # NaN fails every comparison
    if valid.all():
        return rows
    if invalid != "zero":
        _raise_for_row(rows, int(np.argmin(valid)), images, name)
    return np.where(valid[:, None], rows, np.array([-1.0, *[0.0] * (rows.shape[1] - 1)]))


def check_per_bin(values: object, name: str, shape: tuple[int, ...]) -> Array:
    """An array with a real number, or two, for every bin."""
    array = check_array(values, name)
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {list(shape)}, got {list(array.shape)}")
    if not is_real(array.dtype):
        raise TypeError(f"{name}: expected a real dtype (float or integer), got {array.dtype}")
    return array


def check_offset(offset: Array, invalid: str | None) -> Array:
    """Which rows of bin offsets are finite: all, unless those that are not shall be zero."""
    finite: Array = np.logical_and.reduce(np.abs(offset.astype(np.float64)) <= LARGEST_COORDINATE, axis=(1, 2, 3))
    if invalid != "zero" and not finite.all():
        raise ValueError(f"offset[{int(np.argmin(finite))}]: expected finite numbers up to {LARGEST_COORDINATE:g}")
    return finite


def check_boxes(boxes: Array, columns: int, name: str) -> None:
    if boxes.ndim != 2 or boxes.shape[1] != columns:
        raise ValueError(f"{name}: expected shape [K, {columns}], got {boxes.shape}")
    if not is_real(boxes.dtype):
        raise TypeError(f"{name}: expected a real dtype (float or integer), got {boxes.dtype}")


def check_indices(values: object, count: int, name: str, owner: str) -> Array:
    """One integer per row."""
    array = check_array(values, name)
    if array.ndim != 1 or len(array) != count:
        raise ValueError(f"{name}: expected shape [{count}], one per row of {owner}, got {array.shape}")
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected an integer dtype, got {array.dtype}")
    return array


def check_levels(levels: object, count: int, level_count: int) -> Array:
    """The level of every RoI, an index into features."""
    array = check_indices(levels, count, "levels", "rois")
    wrong = (array < 0) | (array >= level_count)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"levels[{row}]: expected 0 <= level < {level_count}, got {array[row]}")
    return array.astype(np.int64)


def _gradient_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(np.float64) if dtype.kind in "iu" else dtype


def _rows_of_array(
    boxes: Array, batch_indices: object, name: str, numbers: int
) -> tuple[Array, Callable[[Array], Any]]:
    dtype = _gradient_dtype(boxes.dtype)
    if batch_indices is None:
        if boxes.ndim == 2 and boxes.shape[1] == numbers:
            raise ValueError(
                f"{name}: expected shape [K, {numbers + 1}] with rows {ROW_OF[numbers]}, got {boxes.shape}; "
                f"give boxes of shape [K, {numbers}] together with batch_indices"
            )
        check_boxes(boxes, numbers + 1, name)
        rows = np.ascontiguousarray(boxes, dtype=np.float64)
        return rows, lambda gradient: np.column_stack([np.zeros(len(gradient)), gradient]).astype(dtype)
    check_boxes(boxes, numbers, name)
    indices = check_indices(batch_indices, len(boxes), "batch_indices", name)
    rows = np.column_stack([indices.astype(np.float64), boxes.astype(np.float64)])
    return rows, lambda gradient: gradient.astype(dtype)


def _rows_of_list(
    rois: Sequence[object], images: int, batch_indices: object, name: str, numbers: int
) -> tuple[Array, Callable[[Array], Any]]:
    if batch_indices is not None:
        raise ValueError("batch_indices: expected None with a list of boxes, whose places are the images")
    if rois and len(rois) != images:
        raise ValueError(f"{name}: expected one array of boxes per image ({images}), got {len(rois)}")
    per_image = [check_array(boxes, f"{name}[{index}]") for index, boxes in enumerate(rois)]
    rows = [np.zeros((0, numbers + 1))]
    for index, boxes in enumerate(per_image):
        check_boxes(boxes, numbers, f"{name}[{index}]")
        rows.append(np.column_stack([np.full(len(boxes), float(index)), boxes.astype(np.float64)]))
    ends = np.cumsum([len(boxes) for boxes in per_image])[:-1]
    dtypes = [_gradient_dtype(boxes.dtype) for boxes in per_image]

    def restore(gradient: Array) -> list[Array]:
        parts = np.split(gradient, ends) if per_image else []
        return [part.astype(dtype) for part, dtype in zip(parts, dtypes, strict=True)]

    return np.concatenate(rows), restore


def _raise_for_row(rows: Array, row: int, images: int, name: str) -> None:
    image = rows[row, 0].item()
    coordinates = rows[row, 1:][list(columns_of(name, rows.shape[1] - 1))].tolist()
    place = f"{name}[{row}]"
    if name.endswith(OF_LIST):
        first = int(np.argmax(rows[:, 0] == image))  # of its image: one follows the other
        place = f"{name.removesuffix(OF_LIST)}[{int(image)}][{row - first}]"
    if not (0 <= image < images and image == math.floor(image)):
        index = int(image) if math.isfinite(image) and image == math.floor(image) else image
        raise ValueError(f"{place}: expected an integer batch index 0 <= index < {images}, got {index}")
    note = f" (more than {LARGEST_COORDINATE:g} counts as infinite)" if np.isfinite(coordinates).all() else ""
    raise ValueError(f"{place}: expected finite coordinates, got {tuple(coordinates)}{note}")
