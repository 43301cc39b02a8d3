"""The interface of a backbone, which computes feature maps of batches of images."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from .. import _validate
from .._typing import Array
from .._warnings import warn_of_values
from ..files.problems import FileError
from .checks import check_channels, check_image_size, check_optional_int, check_optional_text, check_text

if TYPE_CHECKING:
    from torch import Tensor

#: A feature map ``[N, C, H, W]``, a NumPy array or a PyTorch tensor with any strides in memory.
Map: TypeAlias = "Array | Tensor"
Precision: TypeAlias = Literal["float32", "float16", "bfloat16"]

#: The mean and the standard deviation of each normalisation, for pixels from 0 to 255.
NORMALISATIONS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "clip": ((122.7709383, 116.7460125, 104.09373615), (68.5005327, 66.6321579, 70.32316305)),
    "symmetric": ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
    "lite": ((127.0, 127.0, 127.0), (128.0, 128.0, 128.0)),
    "unit": ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}
#: The largest ratio of the longer side to the requested shorter side. A longer image is scaled down further.
LONGEST_SIDE = 4
#: The largest stride of a map. An output of one pixel of a larger image is what a network has pooled all of it into.
LARGEST_STRIDE = 128
#: Images from 0 to 255 may overshoot this far, by resampling or noise.
LOWEST, HIGHEST = -50.0, 305.0
#: Images from 0 to 1, and normalised ones, do not exceed this. Of those from 0 to 255, only black ones do not.
DARK = 4.0


class BackboneError(FileError):
    """A backbone cannot be created or cannot process these images. The message says why."""

    @classmethod
    def of(cls, expected: str, got: object, why: object = None) -> BackboneError:
        """Create an error with the usual message. Of a reason with several lines, the first sentence is used."""
        if isinstance(why, BaseException):
            lines = [line.strip() for line in str(why).splitlines() if line.strip()] or [type(why).__name__]
            why = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]  # the reason may follow a heading
        return cls(f"backbone: expected {expected}, got {got}" + (f": {why}" if why else ""))


@dataclass(frozen=True, slots=True)
class Normalisation:
    """The normalisation ``(pixel - mean) / deviation`` of each channel, for pixels from 0 to 255.

    Wrong values raise ValueError or TypeError.
    """

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]

    def __post_init__(self) -> None:
        mean, deviation = check_channels(self.mean, "mean"), check_channels(self.deviation, "deviation", positive=True)
        _validate.set_checked(self, mean=mean, deviation=deviation)

    @classmethod
    def of(cls, text: str) -> Normalisation:
        """Create a normalisation from a name in `NORMALISATIONS`, or from ``R,G,B/R,G,B``, a mean and a deviation."""
        if text in NORMALISATIONS:
            return cls(*NORMALISATIONS[text])
        mean, _, deviation = text.partition("/")
        try:
            (r, g, b), (s, t, u) = (map(float, numbers.split(",")) for numbers in (mean, deviation))
            return cls((r, g, b), (s, t, u))
        except ValueError:
            form = "R,G,B/R,G,B, the mean and the positive standard deviation of pixels from 0 to 255"
            raise ValueError(f"normalise: expected {', '.join(NORMALISATIONS)}, or {form}, got {text!r}") from None

    def __call__(self, images: Array) -> Array:
        """Normalise uint8 images ``[N, H, W, 3]``. Returns float32 ``[N, 3, H, W]``."""
        mean, deviation = (np.array(values, dtype=np.float32) for values in (self.mean, self.deviation))
        normalised: Array = np.ascontiguousarray(((images - mean) / deviation).transpose(0, 3, 1, 2))
        return normalised


@dataclass(frozen=True, slots=True)
class ImageSize:
    """The size to which images are resized for a backbone."""

    shorter: int | None = None
    """The length of the shorter side in pixels. The aspect ratio is kept. If None, the image is not scaled."""
    multiple: int = 1
    """Both sides are rounded to a multiple of this, so that every stride divides them and no padding is needed."""
    fixed: tuple[int, int] | None = None
    """The height and width of a backbone with a fixed input size. Images are stretched to it."""
    longer: int | None = None
    """The most pixels of the longer side. If it would be longer, it gets this length instead of the shorter side. If
    None, four times the shorter side."""

    def of(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width to which an image of this size is resized.

        >>> ImageSize(320, 32).of(427, 640)
        (320, 480)
        """
        if self.fixed is not None:
            return self.fixed
        factor = 1.0
        if self.shorter is not None:
            longer = LONGEST_SIDE * self.shorter if self.longer is None else self.longer
            factor = min(self.shorter / min(height, width), longer / max(height, width))
        one, other = (max(round(side * factor / self.multiple), 1) * self.multiple for side in (height, width))
        return one, other


@dataclass(frozen=True, slots=True)
class BackboneOptions:
    """The options of a backbone. None selects the backbone's own value. Wrong values raise ValueError or TypeError."""

    image_size: int | tuple[int, int] | None = None
    """The length of the shorter side, or the height and width, in pixels."""
    normalise: str | None = None
    """A name in `NORMALISATIONS`, or ``R,G,B/R,G,B``, a mean and a deviation."""
    weights: str | None = None
    """A file of weights to load instead of the model's own, or "none" for random weights."""
    prefix_tokens: int | None = None
    """The number of tokens before those of the patches, such as class and register tokens."""
    patch_size: int | None = None
    """The side of a patch in pixels."""
    device: str = "cpu"
    """``cpu``, ``cuda``, or ``cuda:1`` for the second GPU."""
    precision: Precision = "float32"
    """``float32``, or for PyTorch backbones, also ``float16`` or ``bfloat16``, with automatic mixed precision."""
    channels_last: bool = False
    """Whether PyTorch backbones use the channels-last memory format."""
    threads: int = 1
    """The number of CPU threads of the backbone. For PyTorch backbones, also of pooling."""

    def __post_init__(self) -> None:
        for name in ("normalise", "weights"):
            check_optional_text(getattr(self, name), name)
        check_text(self.device, "device")
        _validate.check_choice(self.precision, "precision", get_args(Precision))
        _validate.set_checked(
            self,
            image_size=check_image_size(self.image_size),
            prefix_tokens=check_optional_int(self.prefix_tokens, "prefix_tokens", 0),
            patch_size=check_optional_int(self.patch_size, "patch_size", 1),
            channels_last=_validate.check_bool(self.channels_last, "channels_last"),
            threads=_validate.check_int(self.threads, "threads", 1),
        )


class Detections(NamedTuple):
    """The detections in one image, in descending order of score."""

    boxes: Array
    """Float64 ``[D, 4]``: x1, y1, x2, y2 in pixels of the resized image."""
    scores: Array
    """Float32 ``[D]``, from 0 to 1."""
    names: list[str]


class Backbone(ABC):
    """Computes feature maps of batches of images.

    Attributes
    ----------
    strides : tuple of int
        The stride of each level, in image pixels per feature pixel, finest level first.
    channels : tuple of int
        The number of channels of each level.
    image_size : ImageSize
        The size to which images are resized before.
    normalisation : Normalisation
        The normalisation that :meth:`maps` applies to the pixels.
    """

    strides: tuple[int, ...]
    channels: tuple[int, ...]
    image_size: ImageSize
    normalisation: Normalisation
    strides_are_stated: bool = False
    """Whether the strides are those that a model states. Its maps may then have a pixel more or less than they say."""
    default_levels: str = "last"
    """The default levels to pool from; see :func:`roialign.features.pooling.find_levels`."""
    most_detections: int = 0
    """The largest number of detections in an image; 0 if the backbone does not belong to a detector."""
    has_warned: bool = False
    """Whether there was a warning about the values of images. It is issued only once."""

    @abstractmethod
    def maps(self, images: Array, levels: Sequence[int]) -> list[Map]:
        """Compute the feature maps of some levels.

        Parameters
        ----------
        images : uint8 ``[N, H, W, 3]``
            RGB images, resized according to :attr:`image_size`.
        levels : sequence of int
            Indices into :attr:`strides`.

        Returns
        -------
        list of ``[N, C, H / stride, W / stride]``
            One map per level.
        """

    def detect(
        self, images: Array, levels: Sequence[int], score_threshold: float
    ) -> tuple[list[Map], list[Detections]]:
        """Compute the maps like :meth:`maps`, and the detections of each image with at least this score."""
        del images, levels, score_threshold
        raise NotImplementedError("this backbone does not belong to a detector")

    def for_pooling(self) -> AbstractContextManager[None]:
        """Return a context for pooling from the maps, in which they are pooled with the threads of the backbone."""
        return nullcontext()

    def warn_of_range(self, images: Array) -> None:
        """Warn once about images whose values are far from 0 to 255, or that are floats from 0 to 1."""
        if self.has_warned or images.dtype == np.uint8 or not images.size:
            return
        lowest, highest = float(images.min()), float(images.max())
        is_dark = highest <= DARK and lowest < highest and images.dtype.kind == "f"
        if is_dark or not (lowest >= LOWEST and highest <= HIGHEST):
            warn_of_values("images", lowest, highest, 255)
            self.has_warned = True

    @abstractmethod
    def facts(self) -> dict[str, object]:
        """Return everything that determines the values of the maps, as JSON values, for the fingerprint of a job."""


def chosen_size(options: BackboneOptions, default: int, multiple: int) -> ImageSize:
    """Return the image size from the options, or else the default length of the shorter side.

    Raises
    ------
    ValueError
        If a height or width is not a multiple of `multiple`.
    """
    size = options.image_size
    if isinstance(size, tuple):
        if any(side % multiple for side in size):
            raise ValueError(f"image-size: expected multiples of {multiple}, got {size[0]}x{size[1]}")
        return ImageSize(fixed=size)
    return ImageSize(default if size is None else size, multiple)


def chosen_normalisation(options: BackboneOptions, default: str) -> Normalisation:
    """Return the normalisation from the options, or else the default."""
    return Normalisation.of(default if options.normalise is None else options.normalise)


def black_image(size: tuple[int, int]) -> Array:
    """A batch of one image of this height and width, to try a network with: see :func:`probed`."""
    return np.zeros((1, *size, 3), np.uint8)


def probed(
    maps: Sequence[Map],
    size: tuple[int, int],
    name: str,
    stated: Sequence[int] | None = None,
    outputs: Sequence[str] | None = None,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the strides and channels of the maps of an image of this size, which must be ordered finest first.

    Maps of one pixel at the end are left out, unless the image is small: a network has pooled the whole image.

    Parameters
    ----------
    maps : sequence of ``[N, C, H, W]``
        The maps.
    size : (height, width)
        The size of the image in pixels.
    name : str
        The name of the backbone for messages.
    stated : sequence of int, optional
        The stride of each map, if the model states it. By default, strides follow from the sizes of the maps.
    outputs : sequence of str, optional
        The name of each map for messages. By default, its number.

    Raises
    ------
    BackboneError
        If there are no maps, if two have one stride or they are not ordered, if a map does not divide the image
        evenly, or if a stride is not a multiple of the one before, because a layer has rounded the size of its map.
        With `stated`, a map may have a pixel more or less than its stride says.
    """
    shapes = [(int(features.shape[2]), int(features.shape[3])) for features in maps]
    if any(0 in shape for shape in shapes):
        raise BackboneError.of("maps of at least 1 x 1 pixels", f"{shapes} from {name!r}")
    if stated is None and min(size) > LARGEST_STRIDE:
        places = [shape for shape in shapes if shape != (1, 1)]
        if shapes and not places:
            raise BackboneError.of("a map with several pixels", f"{shapes} from {name!r}, in which all is pooled")
        shapes = shapes[: len(places)]
    strides = [round(size[0] / height) for height, _ in shapes] if stated is None else list(stated)
    for index, (shape, stride) in enumerate(zip(shapes, strides, strict=True)):
        most = 0 if stated is None else stride
        if not _follows(shape, size, stride, most):
            how, hint = ("evenly", "; give another --image-size") if stated is None else (f"by its stride {stride}", "")
            raise BackboneError.of(
                f"maps that divide an image of {size[0]} x {size[1]} pixels {how}",
                f"{shape[0]} x {shape[1]} in output {index} of {name!r}{hint}",
            )
    _check_strides(strides, name, is_stated=stated is not None, outputs=outputs)
    return tuple(strides), tuple(int(features.shape[1]) for features in maps[: len(strides)])


def _check_strides(strides: Sequence[int], name: str, *, is_stated: bool, outputs: Sequence[str] | None) -> None:
    """Check the strides of maps; see :func:`probed`."""
    same = [index for index, stride in enumerate(strides) if strides.count(stride) > 1]
    if same:
        which = ", ".join(str(index) if outputs is None else repr(outputs[index]) for index in same)
        found = f"outputs {which} of strides {[strides[index] for index in same]} from {name!r}"
        raise BackboneError.of(
            "one map of each stride", f"{found}: save the model with one of them only, as onnx.utils.extract_model does"
        )
    if not strides or sorted(strides) != strides:
        raise BackboneError.of("maps with increasing strides", f"{strides or 'none'} from {name!r}")
    if not is_stated and any(coarser % finer for finer, coarser in pairwise(strides)):
        hint = "a layer has rounded a size; give another --image-size"
        raise BackboneError.of("strides that are multiples of finer ones", f"{strides} from {name!r}: {hint}")


def _follows(shape: tuple[int, int], size: tuple[int, int], stride: int, most: int) -> bool:
    """Whether a map of this shape covers an image of this size, give or take `most` pixels of the image."""
    return all(abs(side * stride - whole) <= most for side, whole in zip(shape, size, strict=True))


def check_map_sizes(
    maps: Sequence[Map], strides: Sequence[int], size: tuple[int, int], strides_are_stated: bool = False
) -> None:
    """Check that the maps of images of this height and width follow it. They may be rounded.

    Strides are found with one image. A network that resizes images, or pools them to a fixed size, has other strides
    for images of other sizes.

    Raises
    ------
    BackboneError
        If a map does not.
    """
    for features, stride in zip(maps, strides, strict=True):
        shape = int(features.shape[2]), int(features.shape[3])
        most = stride if strides_are_stated else stride - 1
        if not _follows(shape, size, stride, most):
            raise BackboneError.of(
                f"a map of {round(size[0] / stride)} x {round(size[1] / stride)} pixels for an image of {size[0]} x "
                f"{size[1]} pixels, because the stride is {stride}",
                f"{shape[0]} x {shape[1]}; for a network with maps of a fixed size, give --image-size HxW",
            )


def file_hash(*paths: Path) -> str:
    """Return the SHA-256 of the concatenated contents of files."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


#: The values of :func:`refuse` for a backbone without tokens.
NO_TOKENS: dict[str, None] = {"prefix_tokens": None, "patch_size": None}


def refuse(options: BackboneOptions, name: str, **allowed: Any) -> None:
    """Check that options that a backbone does not support have their default.

    Raises
    ------
    ValueError
        If one does not. The message names the first.
    """
    for option, only in allowed.items():
        found = getattr(options, option)
        if found != only:
            expected = "no value" if only is None else repr(only)
            raise ValueError(f"{option.replace('_', '-')}: expected {expected} for {name!r}, got {found!r}")
