"""The published formats by the names they are imported under, and reading files of one."""

from collections.abc import Iterator
from pathlib import Path

from music_flamingo.corpora.formats.audio_flamingo_2 import AUDIO_FLAMINGO_2
from music_flamingo.corpora.formats.audio_flamingo_3 import AUDIO_FLAMINGO_3
from music_flamingo.corpora.formats.audio_table import AUDIO_TABLE
from music_flamingo.corpora.formats.chat_messages import CHAT_MESSAGES
from music_flamingo.corpora.formats.hugging_face import HUGGING_FACE
from music_flamingo.corpora.formats.left_out import LeftOut
from music_flamingo.corpora.formats.music_skills import MUSIC_SKILLS
from music_flamingo.corpora.formats.record import Format, NotImportedError, Record
from music_flamingo.errors import UserError

FORMATS = {
    "hf": HUGGING_FACE,
    "af3": AUDIO_FLAMINGO_3,
    "af2": AUDIO_FLAMINGO_2,
    "tinymu": MUSIC_SKILLS,
    "chat": CHAT_MESSAGES,
    "csv": AUDIO_TABLE,
}


def format_named(name: str) -> Format:
    """The format of a name.

    Raises:
        UserError: there is none.
    """
    if name not in FORMATS:
        raise UserError(f"format: expected one of {', '.join(FORMATS)}, got {name!r}")
    return FORMATS[name]


def source_files(source: Path, chosen: Format) -> list[Path]:
    """The file, or the files of a folder that the format reads, in order of their names.

    Raises:
        UserError: there are none.
    """
    if source.is_file():
        return [source]
    found = sorted(path for path in source.rglob("*") if path.name.endswith(chosen.suffixes) and path.is_file())
    if not found:
        what = f"a file, or a folder with {', '.join(chosen.suffixes)}"
        raise UserError(f"{source}: expected {what}, got {'none' if source.exists() else 'nothing there'}: check SRC")
    return found


def read_records(file: Path, chosen: Format, left_out: LeftOut) -> Iterator[tuple[str, Record]]:
    """(place, record) of everything in a file that can be used; the rest is counted.

    Raises:
        UserError: the file is malformed, or its first record is of another format.
    """
    is_first = True
    for place, row in chosen.rows(file):
        if not isinstance(row, dict):
            left_out.add("a record that is no object", place)
            continue
        if is_first and not chosen.accepts(row):
            fields = ", ".join(map(str, row)) or "none"
            raise UserError(f"{place}: expected {chosen.expects}, got the fields {fields}: is this the right format?")
        is_first = False
        try:
            for record in chosen.records(row):
                yield place, record
        except NotImportedError as reason:
            left_out.add(str(reason), place)
