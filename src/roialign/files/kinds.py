"""What a file is by its first bytes: for messages about files that are something else than their names say."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from .problems import FileError

#: So many bytes tell every kind.
HEAD_BYTES = 512

_POINTER = "a Git LFS pointer, not the file itself: fetch it with `git lfs pull`"
_PAGE = "an HTML page, not the file itself: download it again, from the address that the page leads to"
_ANNOTATIONS = "an XML file of annotations, as of Pascal VOC: convert it to COCO json or to a table"
_OFFICE = "a document of an office program, as of Excel: save its table as CSV"
UTF_16, UTF_32 = "UTF-16 text: save it as UTF-8", "UTF-32 text: save it as UTF-8"
#: By what the first bytes match: what it is, and what to do.
KINDS: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL), kind)
    for pattern, kind in (
        (rb"\Aversion https://git-lfs", _POINTER),
        (rb"(?i)\A(\xef\xbb\xbf)?\s*(<!--.*?-->\s*)*<(!doctype html|html|head|body)\b", _PAGE),
        (rb"\A(\xef\xbb\xbf)?\s*(<\?xml.*?\?>\s*)?(<!.*?>\s*)*<svg\b", "an SVG drawing: save it as PNG"),
        (rb"\A(\xef\xbb\xbf)?\s*(<\?xml.*?\?>\s*)?(<!--.*?-->\s*)*<annotations?\b", _ANNOTATIONS),
        (rb"\A(\xef\xbb\xbf)?\s*<(\?xml|Error|Message)\b", "an XML file, perhaps an error of a server"),
        (rb"\A\x89PNG\r\n\x1a\n", "a PNG image"),
        (rb"\A\xff\xd8\xff", "a JPEG image"),
        (rb"\AGIF8[79]a", "a GIF image"),
        (rb"\A(II\*\x00|MM\x00\*)", "a TIFF image"),
        (rb"\ARIFF....WEBP", "a WebP image"),
        (rb"\A....ftyp(heic|heix|hevc|heim|heis|hevm|mif1|msf1)", "a HEIC photograph: save it as JPEG or PNG"),
        (rb"\A....ftypavif", "an AVIF image"),
        (rb"\A....ftyp", "a video: save its frames as JPEG or PNG"),
        (rb"\A\x1aE\xdf\xa3|\ARIFF....AVI ", "a video: save its frames as JPEG or PNG"),
        (rb"\A%PDF-", "a PDF document: save its pages as PNG"),
        (rb"\A%!PS|\A\xc5\xd0\xd3\xc6", "a PostScript drawing: save it as PNG"),
        (rb"\A\x89HDF\r\n\x1a\n", "an HDF5 file, as of Keras"),
        (rb"\A\x93NUMPY", "a NumPy array"),
        (rb"\APK\x03\x04.{26}(\[Content_Types\]|_rels/|docProps/|xl/w)|\A\xd0\xcf\x11\xe0", _OFFICE),
        (rb"\APK\x03\x04", "a zip archive"),
        (rb"\A\x1f\x8b", "a gzip archive: unpack it"),
        (rb"\A(BZh|\xfd7zXZ\x00|7z\xbc\xaf|Rar!|\x28\xb5\x2f\xfd)", "a compressed archive: unpack it"),
        (rb"\A.{257}ustar", "a tar archive: unpack it"),
        (rb"\A.{128}DICM", "a DICOM scan: save its frames as PNG or TIFF"),
        (rb"\Av/1\x01", "an OpenEXR image: save it as TIFF"),
        (rb"\ASQLite format 3\x00", "an SQLite database"),
        (rb"\A\x00{16}", "nothing but zero bytes, as a broken download or disk leaves: fetch it again"),
        (rb"\A(\xff\xfe\x00\x00|\x00\x00\xfe\xff|([\t\n\r -~]\x00{3}){2}|(\x00{3}[\t\n\r -~]){2})", UTF_32),
        (rb"\A(\xff\xfe|\xfe\xff|([\t\n\r -~]\x00){3}|(\x00[\t\n\r -~]){3})", UTF_16),
        (rb"\A.{8}\{\s*\"", "a safetensors file"),
    )
)


def what_is(head: bytes) -> str | None:
    """What a file with these first bytes is, and what to do; None where nothing is known of it.

    >>> what_is(b"version https://git-lfs.github.com/spec/v1")
    'a Git LFS pointer, not the file itself: fetch it with `git lfs pull`'
    """
    if not head:
        return "an empty file"
    return next((kind for pattern, kind in KINDS if pattern.match(head[:HEAD_BYTES])), None)


def check_readable(path: Path) -> None:
    """That there is a file to read.

    Raises
    ------
    FileError
        For what is missing, a folder, a device, or a pipe: reading a pipe or a device may never end. A pipe that the
        shell has made, as ``<(...)`` does, is read.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        link = os.path.islink(path)
        raise FileError("a link to a file that is not there" if link else error.strerror) from error
    except OSError as error:
        raise FileError(error.strerror or str(error)) from error
    except ValueError as error:  # a zero byte, or a letter that no file system has
        raise FileError(f"no file can have this name: {error}") from error
    if stat.S_ISDIR(mode):
        raise FileError("expected a file, found a folder")
    of_the_shell = stat.S_ISFIFO(mode) and path.parts[1:2] in (("dev",), ("proc",))
    if not (stat.S_ISREG(mode) or of_the_shell):
        raise FileError("expected a file, found a device or a pipe")


def real_path(path: Path) -> Path:
    """The file that a path leads to, through links; the path itself where these go round in circles."""
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError):
        return path
