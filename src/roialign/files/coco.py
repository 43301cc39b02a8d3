"""Reads COCO annotation files. Each row is checked separately: unusable rows are reported, and the others are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from .._text import counted
from .box_format import remark_corners, remark_relative
from .image_sizes import FROM_FILE, settle_sizes, settle_sizes_by_masks
from .images import most_pixels, upright_size_and_tag
from .problems import DatasetError, FileError, Problems
from .rotated import from_degrees, from_upright, rotated_shape
from .rows import Row, Table, as_number, good_rows, identity, is_number, place_of, value_text, whole
from .run_lengths import check_segmentation
from .text import Digest, quoted, read_json
from .turnings import Turnings

#: Returns the path of an image by its name.
PathOf = Callable[[str], Path]

#: The sections to read. Each refers to sections before it only.
SECTIONS = ("categories", "images", "annotations")
#: The smallest side of a box, as a fraction of the longer side of the image. A smaller side rounds to zero in float32,
#: or does so once the image is scaled or flipped.
SMALLEST_SIDE = 1e-6


def read_records(
    path: Path,
    problems: Problems,
    *,
    rotated: bool = False,
    path_of: PathOf | None = None,
    digest: Digest | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """Return the valid rows of every section in the order of the file. Invalid rows are added to `problems`.

    With `rotated`, every annotation gets a `rotated_box`, and its `bbox` is the upright hull; see
    :func:`rotated_box_of`.

    Unambiguous variants are converted to the usual form: a number written as text or as a float, an `iscrowd` of null,
    an empty `segmentation`, and an `area` that is not a number. `row` is the position of an annotation in its section.

    If the width and height of an image are missing, null or text, they are read from its file, which `path_of` finds by
    its name. The bytes of the file are added to `digest`.

    Raises
    ------
    DatasetError
        If the file cannot be read, is not JSON, or lacks a section.
    """
    sections = read_sections(path, digest=digest)
    categories = good_rows(path, "categories", sections["categories"], problems, category_of)
    _remark_same(path, "categories", "name", categories, problems)

    def image(row: Row, index: int) -> dict[str, Any]:
        good = _image(row, path_of)
        if good["width"] != row.get("width") or good["height"] != row.get("height"):
            problems.remark(place_of(path, "images", index), f"{_no_size(row)}: read from its file", "image size")
        return good

    images = good_rows(path, "images", sections["images"], problems, image)
    _remark_same(path, "images", "file_name", images, problems)

    turnings = Turnings()
    if path_of is not None:
        settle_sizes_by_masks(images, sections["annotations"], path_of, turnings)

    def annotation(row: Row, index: int) -> dict[str, Any]:
        good, remark = _annotation(row, images, categories, rotated)
        if remark is not None:
            problems.remark(place_of(path, "annotations", index), remark, "area")
        return {**good, "row": index}

    annotations = good_rows(path, "annotations", sections["annotations"], problems, annotation)
    if path_of is not None:
        settle_sizes(images.rows, annotations.rows, path_of, turnings)
    turnings.remark_in(problems)
    sizes = {row["id"]: (row["width"], row["height"]) for row in images.rows}
    boxes = [(row["bbox"], sizes[row["image_id"]]) for row in annotations.rows]
    if not rotated:  # hulls may reach beyond the image
        remark_corners(path, boxes, problems)
    remark_relative(f"{path}: annotations", boxes, problems)
    bare = sum(row["segmentation"] is None for row in annotations.rows)
    if 0 < bare < len(annotations.rows) or (bare and rotated):  # without any outline, only boxes are used
        have = f"{bare} of {counted(len(annotations.rows), 'object')} {'has' if bare == 1 else 'have'} no outline"
        problems.remark(f"{path}: annotations", f"{have}: {boxes_used(bare, rotated=rotated)}", "no outline")
    return {"categories": categories.rows, "images": images.rows, "annotations": annotations.rows}


def boxes_used(count: int, *, rotated: bool = False) -> str:
    """Say what the boxes of objects without an outline are used as."""
    if rotated:
        one, several = "its upright box is used as a rotated box", "their upright boxes are used as rotated boxes"
    else:
        one, several = "its box is used as a mask", "their boxes are used as masks"
    return one if count == 1 else several


def empty_outlines_used(count: int) -> str:
    """Say how objects whose outline has no pixel are used."""
    return f"in training {boxes_used(count)}, and in evaluation no mask can match {'it' if count == 1 else 'them'}"


def read_sections(
    path: Path, needed: Sequence[str] = SECTIONS, *, digest: Digest | None = None
) -> dict[str, list[Any]]:
    """Return the sections of a file without checking their rows. Its bytes are added to `digest`.

    Raises
    ------
    DatasetError
        If the file cannot be read or a section in `needed` is missing.
    """
    try:
        content = read_json(path, digest)
        if not isinstance(content, dict):
            results = (
                isinstance(content, list) and content and isinstance(content[0], dict) and "image_id" in content[0]
            )
            more = "; it looks like a list of results" if results else ""
            raise FileError(f"expected an object with {', '.join(needed)}, got {type(content).__name__}{more}")
        if "annotations" in needed:
            check_objects(content)
        return {name: section_of(content, name) for name in needed}
    except FileError as error:
        raise DatasetError(f"{path}: {error}") from error


def check_objects(content: Row) -> None:
    """Check that the annotations are objects, not panoptic segments or captions.

    Raises
    ------
    FileError
        If they are of another kind.
    """
    rows = content.get("annotations")
    if not (isinstance(rows, list) and rows and isinstance(rows[0], dict)) or "bbox" in rows[0]:
        return
    for name, kind in (("segments_info", "panoptic segments"), ("caption", "captions")):
        if name in rows[0]:
            raise FileError(f"annotations: {kind}, not objects: use the instances file of the same images")


def section_of(content: Row, name: str) -> list[Any]:
    """Return one section of the file.

    Raises
    ------
    FileError
        If it is missing or not a list.
    """
    section = content.get(name)
    if not isinstance(section, list):
        raise FileError(f"expected a list under {name!r}, got {value_text(content, name)}")
    return section


def box_of(row: Row, *, positive: bool, least: float = 0.0, of_five: str = "read with --rotated") -> list[float]:
    """Return the `bbox` of a row: x, y, width, height. If `positive`, both sides must be longer than `least`.

    `of_five` says what can be done with a rotated box of five numbers, for the message.

    Raises
    ------
    DatasetError
        If it is not such a box.
    """
    box = row.get("bbox")
    expected = f"bbox: expected [x, y, width, height], finite{', with positive sides' if positive else ''}"
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        raise DatasetError(f"{expected}, got {value_text(row, 'bbox')}{five_numbers(box, of_five)}")
    if positive and min(box[2], box[3]) <= least:
        raise DatasetError(f"{expected}, got {quoted(box)}")
    return [float(value) for value in box]


def five_numbers(box: object, of_five: str) -> str:
    """Return the end of the message about a box of five numbers; nothing about any other box."""
    return f": five numbers are a rotated box, {of_five}" if isinstance(box, list) and len(box) == 5 else ""


def category_of(row: Row, index: int) -> dict[str, Any]:
    """Check the id and the name of a category."""
    del index
    number = as_number(identity(row, "id"))
    if not isinstance(number, int):
        raise DatasetError(f"id: expected a whole number, got {quoted(number)}")
    if not isinstance(row.get("name"), str):
        raise DatasetError(f"name: expected text, got {value_text(row, 'name')}")
    return {**row, "id": number}


def _image(row: Row, path_of: PathOf | None) -> dict[str, Any]:
    number, name = identity(row, "id"), file_name(row)
    no_size = any(row.get(side) is None or isinstance(row[side], str) for side in ("width", "height"))
    good = {**row, "id": number, "file_name": name}
    if path_of is not None and no_size:
        try:
            (width, height), good[FROM_FILE] = upright_size_and_tag(path_of(name), large=True)
        except FileError as error:
            raise DatasetError(f"{_no_size(row)}; its file {error}") from error
    else:
        width, height = whole(row, "width", at_least=1), whole(row, "height", at_least=1)
    most = most_pixels()
    if width * height > most:
        raise DatasetError(f"width, height: expected at most {most} pixels, got {quoted(width)} x {quoted(height)}")
    return {**good, "width": width, "height": height}


def _no_size(row: Row) -> str:
    return f"width, height: expected whole numbers, got {value_text(row, 'width')}, {value_text(row, 'height')}"


def file_name(row: Row) -> str:
    """Return the file name of an image. LVIS gives it as part of a URL only.

    Raises
    ------
    DatasetError
        If there is none.
    """
    name = row.get("file_name")
    address = row.get("coco_url")
    if name is None and isinstance(address, str):
        name = name_in_address(address)
    if not isinstance(name, str) or not name:
        raise DatasetError(f"file_name: expected text, got {value_text(row, 'file_name')}")
    return name


def name_in_address(address: str) -> str:
    """Return the file name in ``https://host/folder/name?query``."""
    return unquote(address.partition("?")[0].rpartition("/")[2])


def _annotation(row: Row, images: Table, categories: Table, rotated: bool) -> tuple[dict[str, Any], str | None]:
    """Return the row in its usual form, and a remark about its area."""
    good = dict(row)
    if row.get("id") is not None:  # optional, because nothing refers to an annotation
        good["id"] = identity(row, "id")
    image, category = images.find(row, "image_id", "images"), categories.find(row, "category_id", "categories")
    crowd = row.get("iscrowd") or 0
    if crowd not in (0, 1):
        raise DatasetError(f"iscrowd: expected 0 or 1, got {value_text(row, 'iscrowd')}")
    outline = row.get("segmentation")
    if outline in (None, {}, []) or (isinstance(outline, list) and all(part == [] for part in outline)):
        outline = None
    good |= {"image_id": image["id"], "category_id": category["id"], "iscrowd": int(crowd), "segmentation": outline}
    size = (image["height"], image["width"])
    if not rotated:
        good["bbox"] = box_of(row, positive=True, least=SMALLEST_SIDE * max(size))
    if rotated:
        difficult = row.get("difficult") or 0
        if difficult not in (0, 1):
            raise DatasetError(f"difficult: expected 0 or 1, got {value_text(row, 'difficult')}")
        good |= {"difficult": int(difficult), **rotated_box_of(good, size, least=SMALLEST_SIDE * max(size))}
    elif outline is not None:
        check_segmentation(outline, *size)
    area = good.pop("area", None)
    if area is not None and not (is_number(area) and area >= 0):
        return good, f"area: expected a number, got {quoted(area)}: it is computed"
    return (good if area is None else {**good, "area": area}), None


def rotated_box_of(row: Row, size: tuple[int, int], *, least: float | None) -> dict[str, Any]:
    """Return the rotated box of a row: from five numbers, from its outline, or from its upright box.

    Its sides must be longer than `least`. They may be 0 if `least` is None.

    Raises
    ------
    FileError
        If there is no such box.
    """
    box, outline = row.get("bbox"), row.get("segmentation")
    if isinstance(box, list) and len(box) == 5:
        shape = from_degrees(box, all(map(is_number, box)), least)
        check_segmentation(shape["segmentation"], *size)
        return shape
    if outline is not None:
        check_segmentation(outline, *size)
        return rotated_shape(outline, size, least)
    return from_upright(box_of(row, positive=least is not None, least=least or 0.0))


def _remark_same(path: Path, section: str, name: str, table: Table, problems: Problems) -> None:
    """Add a remark for every two rows with the same name."""
    first: dict[str, dict[str, Any]] = {}
    for row in table.rows:
        other = first.setdefault(row[name], row)
        if other is not row:
            what = f"{name}: {quoted(row[name])} occurs twice, with ids {quoted(other['id'])} and {quoted(row['id'])}"
            problems.remark(f"{path}: {section}", what, f"the same {name} twice")
