"""Where the paths of a corpus lead: files outside its folder, and archives that would write outside theirs."""

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from music_flamingo.corpora.inspection.findings import Finding


def escape(root: Path, source: str) -> tuple[str, str] | None:
    """(kind, detail) where a manifest's path leaves the corpus, by its words or by a link; nothing is opened."""
    if "\0" in source:
        return "outside_root", "the path holds a NUL"
    top = Path(os.path.abspath(root))  # noqa: PTH100 - without following links
    written = Path(os.path.normpath(top / source))
    if not written.is_relative_to(top):
        return "outside_root", f"leads to {written.name} outside the corpus"
    actual = Path(os.path.realpath(written))
    if not actual.is_relative_to(os.path.realpath(top)):
        return "symlink_outside", f"a link leads to {actual.name} outside the corpus"
    return None


def archive_findings(root: Path) -> Iterator[Finding]:
    """What is wrong with the tar archives below a folder, by their headers: nothing is unpacked."""
    for archive in sorted(root.rglob("*.tar")):
        shown = archive.relative_to(root).as_posix()
        if archive.is_symlink() and not Path(os.path.realpath(archive)).is_relative_to(os.path.realpath(root)):
            yield Finding("symlink_outside", "a link leads outside the corpus", path=shown)
        elif archive.is_file():
            yield from _archive_findings(archive, shown)


def _archive_findings(archive: Path, shown: str) -> Iterator[Finding]:
    try:
        with tarfile.open(archive, "r:") as members:
            for member in members:
                complaint = _complaint(member)
                if complaint is not None:
                    yield Finding("bad_archive", f"{member.name[:120]!r}: {complaint}", path=shown)
    except (tarfile.TarError, OSError, EOFError) as error:
        yield Finding("broken_archive", str(error), path=shown)


def _complaint(member: tarfile.TarInfo) -> str | None:
    name = PurePosixPath(member.name.replace("\\", "/"))
    if name.is_absolute():
        return "an absolute path"
    if ".." in name.parts:
        return "a path that leaves its folder"
    if member.issym() or member.islnk():
        return f"a link to {member.linkname[:120]!r}"
    return None if member.isfile() or member.isdir() else "no file, but a device or a pipe"
