"""Computes the features of query regions in the same way as those of a folder."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from .._typing import Array
from .._validate import check_path
from ..features import BackboneOptions, FileBoxes, make_backbone
from ..features.backbone import Backbone, BackboneError
from ..features.engine import Work, pool_image
from ..features.images import ReadImage, read_resized
from ..features.manifest import MANIFEST, RESTORE, differences_of
from ..features.pooling import Pooling
from ..files.boxes import Box
from ..files.orientation import TOLERANCE
from ..files.problems import FileError
from ..files.text import quoted, shown
from .folders import FeatureFolder, as_vectors

#: Facts about a backbone that may differ between machines, and that affect values by rounding only.
OF_MACHINES = ("torch", "torch_cpu", "gpu", "onnxruntime", "timm", "transformers", "device")

Corners = tuple[float, float, float, float]


class Encoder:
    """Computes features of regions of any image, with the backbone and the pooling of a folder.

    Parameters
    ----------
    folder : FeatureFolder
        The folder, whose manifest has the backbone and the settings.
    backbone : str, optional
        The new name of the backbone, if its file has been moved.
    device : str, optional
        The device of the backbone. The default is that of the job.
    threads : int, optional
        The number of threads of the backbone. The default is that of the job.

    Raises
    ------
    BackboneError
        If the backbone cannot be created. If its name or an option is that of the manifest, the message names the
        manifest.
    FileError
        If the backbone differs from that of the folder, or if the manifest does not name a backbone.
    ValueError
        If an argument is invalid.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from roialign.features import BackboneOptions, GridBoxes, JobSettings, prepare, run
    >>> from roialign.search import Encoder, FeatureFolder, nearest
    >>> folder = Path(tempfile.mkdtemp())
    >>> for colour in ("red", "blue"):
    ...     Image.new("RGB", (64, 48), colour).save(folder / f"{colour}.png")
    >>> images = [folder / "red.png", folder / "blue.png"]
    >>> settings, options = JobSettings("pixels", sizes=((1, 1),)), BackboneOptions(image_size=48)
    >>> _ = run(prepare(images, GridBoxes(1, 1), folder / "features", settings, options), readers=0)
    >>> features = FeatureFolder.open(folder / "features")
    >>> queries = Encoder(features).encode(folder / "blue.png", [(0, 0, 32, 24)])
    >>> queries
    array([[  0.,   0., 255.]], dtype=float32)
    >>> found = nearest(features, queries, 1)
    >>> [Path(region.image).name for region in features.regions(found.positions[0])]
    ['blue.png']
    """

    def __init__(
        self,
        folder: FeatureFolder,
        *,
        backbone: str | None = None,
        device: str | None = None,
        threads: int | None = None,
    ) -> None:
        self.folder, self._manifest = folder, folder.path / MANIFEST
        fingerprint = folder.manifest["fingerprint"]
        made = folder.manifest.get("backbone") or {}
        name = made.get("name") if backbone is None else backbone
        if name is None:
            raise FileError(f"{self._manifest}: does not name the backbone; give it with --backbone")
        given: dict[str, Any] = {"device": device, "threads": threads}
        given = {option: value for option, value in given.items() if value is not None}
        try:
            options = _options(made.get("options") or {})
            options = replace(options, **given)
            self.backbone = make_backbone(name, options)
        except (TypeError, ValueError) as error:
            argument = str(error).partition(":")[0]
            if argument in given or (argument == "backbone" and backbone is not None):
                raise  # the manifest does not have what is wrong
            raise BackboneError(f"{self._manifest}: backbone: {str(error).removeprefix('backbone: ')}") from error
        self._check_same(name, fingerprint["backbone"])
        self.pooling = _pooling_of(folder, self.backbone)

    def whole(self, image: str | Path) -> Corners:
        """Return the box of the whole image."""
        read = self._read(check_path(image, "image"))
        return 0.0, 0.0, float(read.width), float(read.height)

    def encode(self, image: str | Path, boxes: Sequence[Corners], *, column: str | None = None) -> Array:
        """Compute the features of boxes of an image.

        Parameters
        ----------
        image : str or Path
            Turned upright, as images of a folder are.
        boxes : sequence of (x1, y1, x2, y2)
            The boxes in pixels of the upright image.
        column : str, optional
            The feature column. The default is `vector`, or else the first column.

        Returns
        -------
        float32 ``[B, C]``
            One vector per box. For maps, it is the mean over the bins.

        Raises
        ------
        FileError
            If the image cannot be read, or if the backbone fails on it.
        TypeError
            If an argument is of the wrong type, or a box does not consist of numbers.
        ValueError
            If a box does not have four numbers, or is inverted, empty, or not inside the image.
        """
        image, name = check_path(image, "image"), self.folder.column(column)
        if not isinstance(boxes, Iterable):
            raise TypeError(f"boxes: expected a sequence of boxes (x1, y1, x2, y2), got {boxes!r}")
        read = self._read(image)
        regions = [
            Box(row, f"box {row}", str(image), checked_box(corners, image, read.width, read.height), "")
            for row, corners in enumerate(boxes)
        ]
        work = Work(self.backbone, FileBoxes({image: regions}), self.pooling, 1, "npz")
        features = pool_image(work, image, read).features
        return as_vectors(features[list(self.pooling.columns(self.backbone)).index(name)])

    def _read(self, image: Path) -> ReadImage:
        try:
            return read_resized(image, None, self.backbone.image_size)
        except FileError as error:
            raise FileError(f"{image}: {error}") from error

    def _check_same(self, name: str, found: Mapping[str, Any]) -> None:
        sizes = {"image_size": asdict(self.backbone.image_size), "normalisation": asdict(self.backbone.normalisation)}
        own = json.loads(json.dumps({**self.backbone.facts(), **sizes}))  # JSON has lists instead of tuples
        compared = [key for key in own if key not in OF_MACHINES]
        differences = list(
            differences_of({key: found.get(key) for key in compared}, {key: own[key] for key in compared})
        )
        if differences:
            raise FileError(
                f"{self._manifest}: its folder was computed with a different backbone than {name}: "
                f"{'; '.join(differences)}"
            )


def _pooling_of(folder: FeatureFolder, backbone: Backbone) -> Pooling:
    """Make the pooling that the manifest of a folder describes, and check that it gives the columns of the folder."""
    said = folder.manifest["fingerprint"]["pooling"]
    try:
        sizes = tuple(tuple(size) for size in said["sizes"])
        pooling = Pooling(**{**said, "sizes": sizes, "levels": tuple(said["levels"])})
        pooling.check()
        columns = pooling.columns(backbone)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise FileError(
            f"{folder.path / MANIFEST}: fingerprint.pooling: cannot be used: {shown(said)}; {RESTORE}"
        ) from error
    if columns != folder.columns:
        raise FileError(
            f"{folder.path / MANIFEST}: its pooling gives columns {shown(columns)}, and its columns are "
            f"{shown(folder.columns)}; {RESTORE}"
        )
    return pooling


def checked_box(corners: Corners, image: Path, width: int, height: int) -> Corners:
    """Check that a box lies in the image. If it extends beyond it by at most `TOLERANCE`, it is clipped.

    Parameters
    ----------
    corners : (x1, y1, x2, y2)
        The box in pixels of the upright image.
    image : Path
        The image, for the message of an error.
    width, height : int
        The size of the upright image in pixels.

    Returns
    -------
    (x1, y1, x2, y2)
        The box, inside the image.

    Raises
    ------
    TypeError
        If the box does not consist of numbers.
    ValueError
        If the box does not have four numbers, or is inverted, empty, or not inside the image.
    """
    try:
        x1, y1, x2, y2 = map(float, corners)
    except TypeError as error:
        raise TypeError(f"boxes: expected x1, y1, x2, y2 of each, got {quoted(corners)}") from error
    except ValueError as error:
        raise ValueError(f"boxes: expected x1, y1, x2, y2 of each, got {quoted(corners)}") from error
    corners = x1, y1, x2, y2
    text = ",".join(f"{corner:g}" for corner in corners)
    if not all(map(math.isfinite, corners)) or x1 >= x2 or y1 >= y2:
        raise ValueError(f"box {text}: expected x1,y1,x2,y2 with x1 < x2 and y1 < y2")
    if min(x1, y1) < -TOLERANCE or x2 > width + TOLERANCE or y2 > height + TOLERANCE:
        raise ValueError(f"box {text}: expected a box inside {image}, which has {width} x {height} pixels")
    return max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))


def _options(made: Mapping[str, Any]) -> BackboneOptions:
    size = made.get("image_size")
    known = {one.name: made[one.name] for one in fields(BackboneOptions) if one.name in made}
    return BackboneOptions(**{**known, "image_size": tuple(size) if isinstance(size, list) else size})
