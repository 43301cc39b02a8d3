"""Identifies files by their first bytes, for error messages about files of an unexpected kind."""

from __future__ import annotations

import codecs
import os
import re
import stat
from pathlib import Path

from .problems import FileError

#: The number of bytes needed to identify any kind.
HEAD_BYTES = 512
#: The first bytes of files that torch.save wrote before it used zip archives.
OLDER_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."

_POINTER = "a Git LFS pointer, not the file itself: fetch it with `git lfs pull`"
_PAGE = "an HTML page, not the file itself: download it again from the link on the page"
_ANNOTATIONS = "an XML annotation file, such as Pascal VOC: convert it to COCO JSON or to a table"
_OFFICE = "an office document, such as an Excel file: save its table as CSV"
UTF_16, UTF_32 = "UTF-16 text: save it as UTF-8", "UTF-32 text: save it as UTF-8"
#: Patterns of first bytes, each with a description and what to do.
KINDS: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL), kind)
    for pattern, kind in (
        (rb"\Aversion https://git-lfs", _POINTER),
        (rb"(?i)\A(\xef\xbb\xbf)?\s*(<!--.*?-->\s*)*<(!doctype html|html|head|body)\b", _PAGE),
        (rb"\A(\xef\xbb\xbf)?\s*(<\?xml.*?\?>\s*)?(<!.*?>\s*)*<svg\b", "an SVG drawing: save it as PNG"),
        (rb"\A(\xef\xbb\xbf)?\s*(<\?xml.*?\?>\s*)?(<!--.*?-->\s*)*<annotations?\b", _ANNOTATIONS),
        (rb"\A(\xef\xbb\xbf)?\s*<(\?xml|Error|Message)\b", "an XML file, perhaps a server error"),
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
        (rb"\A\x89HDF\r\n\x1a\n", "an HDF5 file, such as Keras writes"),
        (rb"\A\x93NUMPY", "a NumPy array"),
        (rb"\APK\x03\x04.{26}(\[Content_Types\]|_rels/|docProps/|xl/w)|\A\xd0\xcf\x11\xe0", _OFFICE),
        (rb"\APK\x03\x04", "a zip archive"),
        (rb"\A\x1f\x8b", "a gzip archive: unpack it"),
        (rb"\A(BZh|\xfd7zXZ\x00|7z\xbc\xaf|Rar!|\x28\xb5\x2f\xfd)", "a compressed archive: unpack it"),
        (rb"\A.{257}ustar", "a tar archive: unpack it"),
        (rb"\A.{128}DICM", "a DICOM scan: save its frames as PNG or TIFF"),
        (rb"\Av/1\x01", "an OpenEXR image: save it as TIFF"),
        (rb"\ASQLite format 3\x00", "an SQLite database"),
        (rb"\A\x00{16}", "only zero bytes, perhaps from a broken download or disk: download it again"),
        (rb"\A(\xff\xfe\x00\x00|\x00\x00\xfe\xff|([\t\n\r -~]\x00{3}){2}|(\x00{3}[\t\n\r -~]){2})", UTF_32),
        (rb"\A(\xff\xfe|\xfe\xff|([\t\n\r -~]\x00){3}|(\x00[\t\n\r -~]){3})", UTF_16),
        (rb"\A.{8}\{\s*\"", "a safetensors file"),
    )
)


def what_is(head: bytes) -> str | None:
    """Describe a file with these first bytes, and what to do about it. Return None if the kind is unknown.

    >>> what_is(b"version https://git-lfs.github.com/spec/v1")
    'a Git LFS pointer, not the file itself: fetch it with `git lfs pull`'
    """
    if not head:
        return "an empty file"
    return next((kind for pattern, kind in KINDS if pattern.match(head[:HEAD_BYTES])), None)


def is_text(head: bytes) -> bool:
    """Whether a file with these first bytes is UTF-8 text. Its last character may be cut.

    >>> is_text("Größe".encode()[:3]), is_text(bytes(3))
    (True, False)
    """
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character.isspace() for character in text)


def check_readable(path: Path) -> None:
    """Check that a path is a file that can be read.

    Raises
    ------
    FileError
        If the path does not exist, or is a folder, a device or a pipe. Reading a device or a pipe may never end. A pipe
        made by the shell with ``<(...)`` is accepted.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        link = os.path.islink(path)
        raise FileError("a link to a file that does not exist" if link else error.strerror) from error
    except OSError as error:
        raise FileError(error.strerror or str(error)) from error
    except ValueError as error:  # a zero byte, or a character that file names cannot have
        raise FileError(f"not a valid file name: {error}") from error
    if stat.S_ISDIR(mode):
        raise FileError("expected a file, found a folder")
    from_shell = stat.S_ISFIFO(mode) and path.parts[1:2] in (("dev",), ("proc",))
    if not (stat.S_ISREG(mode) or from_shell):
        raise FileError("expected a file, found a device or a pipe")


def check_is_folder(path: Path, kind: type[FileError] = FileError) -> None:
    """Raise an error of this kind, which names the path, unless it is a folder."""
    if not path.is_dir():
        raise kind(f"{path}: {'expected a folder, found a file' if path.exists() else 'no such folder'}")


def real_path(path: Path) -> Path:
    """Resolve symbolic links. Return the path itself if the links form a loop."""
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError):
        return path
