"""Zip archives, as NumPy and torch write them: whether they hold what was written, and how large it will be."""

from __future__ import annotations

import zipfile
from pathlib import Path

from .problems import FileError

#: So many bytes what is compressed in an archive may be: a small file can promise any number.
LARGEST_UNPACKED = 1 << 32
#: Bytes that are read at a time.
PIECE_BYTES = 1 << 20


def check_archive(path: Path) -> None:
    """That every member is, by its checksum, what was written; torch itself does not look.

    A file that was written without checksums, as `torch.serialization.set_crc32_options` can, is taken as it is.

    Raises
    ------
    FileError
        Naming the member that is damaged; or where what is compressed is larger than `LARGEST_UNPACKED`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            check_unpacked(sum(member.file_size for member in members if member.compress_type != zipfile.ZIP_STORED))
            if any(member.CRC for member in members):
                for member in members:
                    _read_through(archive, member)
    except (OSError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError("damaged or cut short: copy or download it again") from error


def check_unpacked(size: int) -> None:
    """That so many bytes may be made of a file.

    Raises
    ------
    FileError
        Where they are too many.
    """
    if size > LARGEST_UNPACKED:
        raise FileError(f"expected at most {LARGEST_UNPACKED >> 30} GiB unpacked, found {size / (1 << 30):.3g} GiB")


def _read_through(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Read a member to its end, where the checksum is compared."""
    try:
        with archive.open(member) as file:
            while file.read(PIECE_BYTES):
                pass
    except zipfile.BadZipFile as error:
        raise FileError(f"damaged: {member.filename} is not what was written; copy or download it again") from error
