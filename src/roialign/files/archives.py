"""Checks of zip archives, as NumPy and PyTorch write them: their checksums and their unpacked size."""

from __future__ import annotations

import zipfile
from pathlib import Path

from .problems import FileError

#: The largest unpacked size in bytes of the compressed members. A small file can claim any size.
LARGEST_UNPACKED = 1 << 32
#: The number of bytes to read at a time.
PIECE_BYTES = 1 << 20


def check_archive(path: Path) -> None:
    """Check the size and the checksum of every member. PyTorch itself does not compare checksums.

    A file written without checksums, which `torch.serialization.set_crc32_options` allows, is not compared.

    Raises
    ------
    FileError
        If a member is damaged, or if the compressed members are larger than `LARGEST_UNPACKED`.
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
    """Check that the unpacked size in bytes is at most `LARGEST_UNPACKED`.

    Raises
    ------
    FileError
        If it is larger.
    """
    if size > LARGEST_UNPACKED:
        raise FileError(f"expected at most {LARGEST_UNPACKED >> 30} GiB unpacked, found {size / (1 << 30):.3g} GiB")


def _read_through(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Read a member to its end, which is where `zipfile` compares the checksum."""
    try:
        with archive.open(member) as file:
            while file.read(PIECE_BYTES):
                pass
    except zipfile.BadZipFile as error:
        raise FileError(f"damaged: the checksum of {member.filename} is wrong; copy or download it again") from error
