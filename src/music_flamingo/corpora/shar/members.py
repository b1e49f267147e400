"""What lies where in a tar file, once it is known to hold nothing but plain files with plain names."""

import tarfile
from dataclasses import dataclass
from pathlib import PurePosixPath

from fsspec.core import url_to_fs

from music_flamingo.errors import UserError


@dataclass(frozen=True)
class Member:
    """A file in a tar file: its name, and the bytes it takes."""

    name: str
    start: int
    size: int


def list_members(place: str, size: int) -> list[Member]:
    """The members of a tar file of `size` bytes, of which only the headers are read.

    Raises:
        UserError: it is no tar file, is cut short, or has a member that is a link, a device or outside the archive.
    """
    files, path = url_to_fs(place)
    try:
        with files.open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            members = [_checked(info, place) for info in archive]
    except (tarfile.TarError, OSError, EOFError) as error:
        raise UserError(f"{place}: expected a whole tar file, got {error}: make it again") from error
    if members and members[-1].start + members[-1].size > size:
        raise UserError(f"{place}: expected a whole tar file, got one that ends within {members[-1].name}: cut short?")
    return members


def check_name(name: str, place: str) -> None:
    """Refuse a name that would lead out of the archive.

    Raises:
        UserError: it is absolute, or has `..` or a NUL in it.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name:
        raise UserError(f"{place}: expected names within the archive, got {name!r}: do not trust this file")


def _checked(info: tarfile.TarInfo, place: str) -> Member:
    check_name(info.name, place)
    if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or info.sparse is not None:
        raise UserError(f"{place}: expected plain files, got {info.name!r}, a link or device: do not trust this file")
    return Member(info.name, info.offset_data, info.size)
