"""Can anything be written into a folder? Asked before hours of work, not after."""

from pathlib import Path
from tempfile import TemporaryFile

from music_flamingo.errors import UserError


def require_writable(folder: Path, setting: str) -> None:
    """Raise a UserError that names the setting unless a folder, or one to be made, can be written into."""
    error = write_error(folder)
    if error is not None:
        raise UserError(f"{setting}: expected a folder to write into, got {folder} ({error}): give another")


def write_error(folder: Path) -> str | None:
    """Why nothing can be written into a folder, which may be still to make; None where it can."""
    nearest = existing(folder)
    if not nearest.is_dir():
        return f"{nearest} is a file"
    try:
        with TemporaryFile(dir=nearest) as file:
            file.write(b"0")
    except OSError as error:
        return error.strerror or str(error)
    return None


def existing(folder: Path) -> Path:
    """The folder itself, or the nearest above it that is there."""
    absolute = folder.absolute()
    return next(each for each in (absolute, *absolute.parents) if each.exists())
