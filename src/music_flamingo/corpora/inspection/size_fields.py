"""Does what a header says of sizes agree with the length of the file?"""

import struct
from typing import BinaryIO

_CHUNK_HEAD = 8
_FILE_HEAD = 12
_AUDIO_CHUNKS = (b"data", b"SSND")
_LAST_METADATA = 0x80
_TAGS = (b"ID3", b"TAG", b"APE")
"""What taggers append after the last chunk, which readers pass over."""


def wrong_size(file: BinaryIO, num_bytes: int) -> str | None:
    """What a RIFF or AIFF header says wrongly about a file of `num_bytes`; None where nothing, or other formats."""
    head = file.read(_FILE_HEAD)
    order = _byte_order(head)
    if order is None:
        return None
    position = _FILE_HEAD
    while position + _CHUNK_HEAD <= num_bytes:
        file.seek(position)
        name, size = struct.unpack(f"{order}4sI", file.read(_CHUNK_HEAD))
        rest = num_bytes - position - _CHUNK_HEAD
        if name[:3] in _TAGS:
            return None
        if not name.isascii() or not name.decode("ascii").isprintable():
            return f"{rest + _CHUNK_HEAD:,} bytes follow what the header says is the end of the file"
        if size > rest:
            what = "audio" if name in _AUDIO_CHUNKS else f"the part {name.decode()}"
            return f"the header says {size:,} bytes of {what}, the file holds {rest:,}"
        position += _CHUNK_HEAD + size + size % 2
    declared = _CHUNK_HEAD + struct.unpack(f"{order}I", head[4:8])[0]
    # Some writers do not count a last byte of padding.
    if declared > num_bytes + 1:
        return f"the header says {declared:,} bytes, the file has {num_bytes:,}"
    return None


def is_header_only(file: BinaryIO, num_bytes: int) -> bool:
    """Whether a flac file ends with its metadata; other formats say by themselves that they hold no samples."""
    if file.read(4) != b"fLaC":
        return False
    position, is_last = 4, False
    while not is_last and position < num_bytes:
        file.seek(position)
        head = file.read(4)
        is_last = bool(head[0] & _LAST_METADATA)
        position += 4 + int.from_bytes(head[1:], "big")
    return position >= num_bytes


def _byte_order(head: bytes) -> str | None:
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        return "<"
    return ">" if head[:4] == b"FORM" and head[8:] in {b"AIFF", b"AIFC"} else None
