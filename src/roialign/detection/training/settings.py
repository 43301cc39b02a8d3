"""The settings of a training run, as values that can be stored in a file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any

from ..._text import with_names
from ..._validate import check_instance, check_int, check_number, check_number_in, set_checked
from ...files.text import read_json, shown
from ...files.writing import atomic_write
from ..coco import CocoDataset
from ..patches import PatchSettings
from ..settings import DetectorSettings

#: The name of the settings file in the folder of a run.
SETTINGS_FILE = "settings.json"
OPTIMISERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "step")
#: The dtypes of mixed precision by name.
PRECISIONS = ("off", "bfloat16", "float16")
#: The settings that count something, with their smallest and largest values.
COUNTS = (("iterations", 1, None), ("batch_size", 1, 2**20), ("warmup", 0, None), ("seed", 0, None))
#: The default maximum ratio of the longer to the shorter side of an image.
LARGEST_RATIO = 5 / 3
#: The default limit of the shorter side. Larger images are scaled down to it.
USUAL_SIZE = 800

#: The sizes of a detector: one to train from scratch on a CPU, and one as in the papers.
SIZES: dict[str, dict[str, Any]] = {
    "small": {
        "width": 32,
        "out_channels": 64,
        "hidden": 256,
        "mask_hidden": 64,
        "proposals": {"before_nms": (300, 300), "after_nms": (200, 100), "sample_size": 64},
        "regions": {"sample_size": 64},
    },
    "full": {"width": 64, "out_channels": 256, "hidden": 1024, "mask_hidden": 256},
}
#: The number of groups of group normalisation when training from scratch. It divides the channels of every size.
NORM_GROUPS = 8


class RunError(ValueError):
    """A training run cannot continue as requested. Its saved files are unchanged."""


class OtherSettingsError(RunError):
    """A run is resumed with settings other than those it was started with."""

    def __init__(self, run: Path, differences: Mapping[str, tuple[Any, Any]]) -> None:
        self.run, self.differences = run, dict(differences)
        """For each setting that differs: the value the run was started with, and the value given now."""
        shown = "; ".join(f"{name} was {old!r}, not {new!r}" for name, (old, new) in differences.items())
        super().__init__(
            f"{run}: was started with other settings: {shown}; use the settings in {SETTINGS_FILE}, or another folder"
        )


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """All settings that affect the trained weights.

    Concretely, two runs with the same settings, data, device and number of threads end with the same bits, however
    often they were stopped and resumed.

    Raises
    ------
    TypeError, ValueError
        If a value has another type or is out of range. The message names it.
    """

    detector: DetectorSettings
    """The detector to train."""
    iterations: int = 3000
    """The number of optimiser steps, each with the gradient of one batch."""
    batch_size: int = 8
    """The number of images per iteration, over all processes."""
    optimiser: str = "adamw"
    """"adamw" or "sgd"."""
    learning_rate: float = 1e-3
    """The peak of the learning rate, after the warm-up. It is not scaled by the batch size."""
    weight_decay: float = 0.05
    """The weight decay. It does not apply to normalisation weights and biases."""
    momentum: float = 0.9
    """The momentum of SGD."""
    schedule: str = "cosine"
    """"cosine" from the learning rate to 0, or "step", to a tenth after 2/3 and again after 8/9 of the iterations."""
    warmup: int = 100
    """The number of warm-up iterations, in which the learning rate rises linearly."""
    clip: float = 1.0
    """The maximum norm of the gradient. A larger gradient is scaled down to it."""
    precision: str = "off"
    """Mixed precision: "off" for float32 only, or "bfloat16" or "float16", in which torch computes what it can."""
    flip: float = 0.0
    """The probability that an image is mirrored left to right."""
    seed: int = 0
    """The seed of the weights, of the order and mirroring of images, and of the sampling of boxes."""
    vertical_flip: float = 0.0
    """The probability that it is mirrored top to bottom."""
    diagonal_flip: float = 0.0
    """The probability that it is mirrored both ways, which turns it by 180 degrees. mmrotate has 0.25 for all three."""
    patch_size: int | None = None
    """The side of the patches that images are cut into, or None for whole images: see :class:`PatchSettings`."""
    patch_overlap: int | None = None
    """The pixels that two neighbouring patches share. By default that of :class:`PatchSettings`."""

    def __post_init__(self) -> None:
        for name, known in (("optimiser", OPTIMISERS), ("schedule", SCHEDULES), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}: expected one of {', '.join(known)}, got {getattr(self, name)!r}")
        check_instance(self.detector, "detector", DetectorSettings)
        for name, least, most in COUNTS:
            set_checked(self, **{name: check_int(getattr(self, name), name, least, most)})
        for name in ("learning_rate", "clip"):
            set_checked(self, **{name: check_number(getattr(self, name), name)})
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected more than 0, got {getattr(self, name)}")
        for name, highest in (
            ("weight_decay", None),
            ("momentum", 1),
            ("flip", 1),
            ("vertical_flip", 1),
            ("diagonal_flip", 1),
        ):
            set_checked(self, **{name: check_number_in(getattr(self, name), name, 0, highest)})
        if self.flips > 1 + 1e-9:
            raise ValueError(
                "flip, vertical_flip, diagonal_flip: expected probabilities of at most 1 together, since an image is "
                f"mirrored one way or not at all, got {self.flips:g}"
            )
        if self.patch_size is None and self.patch_overlap is not None:
            raise ValueError(f"patch_overlap: expected None without a patch_size, got {self.patch_overlap}")
        if self.patches is not None:
            set_checked(self, patch_size=self.patches.size, patch_overlap=self.patches.overlap)

    @property
    def flips(self) -> float:
        """The probability that an image is mirrored in any way."""
        return self.flip + self.vertical_flip + self.diagonal_flip

    @property
    def patches(self) -> PatchSettings | None:
        """The patches that images are cut into, or None for whole images."""
        if self.patch_size is None:
            return None
        with naming_settings_of_patches():
            return PatchSettings(self.patch_size, self.patch_overlap)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> TrainSettings:
        """Make settings from the result of :meth:`to_dict`.

        Raises
        ------
        TypeError, ValueError
            If a value is unknown or wrong. The message names it.
        """
        unknown = sorted(set(values) - {each.name for each in fields(cls)})
        if unknown:
            known = ", ".join(each.name for each in fields(cls))
            raise ValueError(f"settings: expected names among {known}, got {', '.join(unknown)}")
        if "detector" not in values:
            raise ValueError("settings: expected a detector, got none")
        return cls(**{**values, "detector": DetectorSettings.of(values["detector"])})


@contextmanager
def naming_settings_of_patches() -> Iterator[None]:
    """Context manager: errors about the arguments of :class:`PatchSettings` name those of :class:`TrainSettings`."""
    try:
        yield
    except (TypeError, ValueError) as error:
        text = with_names(str(error), {"size": "patch_size", "overlap": "patch_overlap"})
        if text == str(error):
            raise
        raise type(error)(text) from error


def new_detector(
    dataset: CocoDataset,
    *,
    size: str = "small",
    min_size: int | None = None,
    max_size: int | None = None,
    patch_size: int | None = None,
    **more: Any,
) -> DetectorSettings:
    """Make the settings of a detector that is trained from scratch on the classes of a dataset.

    Parameters
    ----------
    dataset : CocoDataset
        The dataset, whose classes the detector finds.
    size : "small" (default) or "full"
        The numbers of channels: small ones, to train on a CPU, or those of the papers.
    min_size : int, optional
        Images are resized so that the shorter side has this many pixels. By default the median shorter side of the
        dataset, but at most 800, or `patch_size` if it is given.
    max_size : int, default 5/3 of `min_size`
        The longer side has at most this many pixels.
    patch_size : int, optional
        The side of the patches that images are cut into, which are then not resized.
    **more
        Other fields of :class:`DetectorSettings`.

    Returns
    -------
    DetectorSettings
        They have group normalisation, because the few images of a batch give poor statistics.

    Raises
    ------
    TypeError, ValueError
        If an argument is something else or out of range.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from roialign.detection import CocoDataset, SceneSettings, new_detector, write_scenes
    >>> folder = Path(tempfile.mkdtemp())
    >>> write_scenes(folder, {"train": 2}, SceneSettings(image_size=96))
    >>> dataset = CocoDataset(folder / "train/annotations.json", folder / "train/images")
    >>> settings = new_detector(dataset, model="faster-rcnn", backbone="resnet18-fpn")
    >>> settings.min_size, settings.max_size, len(settings.classes), settings.norm_groups
    (96, 160, 10, 8)
    """
    check_instance(dataset, "dataset", CocoDataset)
    if size not in SIZES:
        raise ValueError(f"size: expected one of {', '.join(SIZES)}, got {size!r}")
    if min_size is None:
        min_size = patch_size
    if min_size is None:
        sides = [min(row["width"], row["height"]) for row in dataset.rows]
        min_size = min(round(median(sides)), USUAL_SIZE) if sides else USUAL_SIZE
    return DetectorSettings(
        classes=tuple(dataset.class_names),
        category_ids=tuple(dataset.category_ids),
        min_size=min_size,
        max_size=max_size or round(LARGEST_RATIO * min_size),
        **{"norm_groups": NORM_GROUPS, **SIZES[size], **more},
    )


def read_settings(run: Path) -> TrainSettings | None:
    """Read the settings of a run, or return None if it has not been started."""
    path = run / SETTINGS_FILE
    if not path.exists():
        return None
    try:
        values = read_json(path)
        if not isinstance(values, dict):
            raise ValueError(f"expected a dict, got {shown(values)}")
        return TrainSettings.of(values)
    except (ValueError, TypeError) as error:
        raise RunError(f"{path}: cannot be read as the settings of a run: {error}") from error


def write_settings(run: Path, settings: TrainSettings) -> None:
    """Write the settings of a run atomically."""
    with atomic_write(run / SETTINGS_FILE) as file:
        file.write(json.dumps(settings.to_dict(), indent=2).encode() + b"\n")


def check_same(run: Path, wanted: TrainSettings, begun: TrainSettings, iteration: int) -> None:
    """Check that a run is resumed with the settings it was started with. A finished run may get more iterations.

    Raises
    ------
    OtherSettingsError
        If settings differ. The message names all of them.
    """
    longer = iteration == begun.iterations < wanted.iterations
    differences = {}
    for of, one, other in (("", wanted, begun), ("detector.", wanted.detector, begun.detector)):
        for each in fields(one):
            new, old = getattr(one, each.name), getattr(other, each.name)
            if new != old and each.name != "detector" and not (longer and each.name == "iterations"):
                differences[f"{of}{each.name}"] = (old, new)
    if differences:
        raise OtherSettingsError(run, differences)
