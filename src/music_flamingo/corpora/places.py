"""Files in folders and behind URLs: the same few questions, asked through fsspec."""

import hashlib
import os
from pathlib import Path

from fsspec.core import url_to_fs

from music_flamingo.errors import UserError


def is_url(place: str | Path) -> bool:
    """Whether a place is a URL such as `s3://songs` and not a path."""
    return "://" in str(place)


def file_sizes(folder: str) -> dict[str, int]:
    """Bytes of each file of a folder or URL by its name, in the order of names; empty where it does not exist.

    Raises:
        UserError: it cannot be listed.
    """
    if not is_url(folder):  # links among them, as in a Hugging Face cache, of which fsspec would not say what they are
        paths = sorted(Path(folder).iterdir()) if Path(folder).is_dir() else []
        return {path.name: path.stat().st_size for path in paths if path.is_file()}
    try:
        files, path = url_to_fs(folder)
        found = files.ls(path, detail=True)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, ImportError) as error:
        raise UserError(f"{folder}: expected a folder that can be listed, got {error}: check the place") from error
    sizes = {entry["name"].rsplit("/", 1)[-1]: int(entry["size"]) for entry in found if entry["type"] == "file"}
    return dict(sorted(sizes.items()))


def read_bytes(place: str, start: int | None = None, size: int | None = None) -> bytes:
    """A range of a file or URL in one request; the whole without `start`.

    Raises:
        UserError: it cannot be read, or ends before.
    """
    try:
        files, path = url_to_fs(place)
        end = None if start is None or size is None else start + size
        found: bytes = files.cat_file(path, start=start, end=end)
    except (OSError, ValueError) as error:
        raise UserError(f"{place}: expected a file that can be read, got {error}: check the place") from error
    if size is not None and len(found) != size:
        raise UserError(f"{place}: expected {size} bytes from byte {start} on, got {len(found)}: cut short?")
    return found


def cache_folder(place: str) -> Path:
    """Where what was found out about a place is kept, for places that cannot be written to."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "music-flamingo" / hashlib.sha256(place.encode()).hexdigest()[:24]
