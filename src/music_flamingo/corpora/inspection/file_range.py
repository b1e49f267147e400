"""A file inside another one."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FileRange:
    """Bytes of a file that are a file of their own, as a song in an archive is.

    Attributes:
        path: of the file around them.
        start: first byte.
        size: in bytes.
    """

    path: str
    start: int
    size: int

    def read(self) -> bytes:
        """The bytes, fewer where the file around them has ended.

        Raises:
            OSError: it cannot be read.
        """
        with Path(self.path).open("rb") as file:
            file.seek(self.start)
            return file.read(self.size)
