"""Reading large files record by record: JSON arrays, JSON lines, Parquet and CSV."""

import csv
import gzip
import importlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import ijson
import orjson

from music_flamingo.corpora.formats.record import Row
from music_flamingo.errors import UserError

JSON_SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
TABLE_SUFFIXES = (*JSON_SUFFIXES, ".parquet")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def table_rows(path: Path) -> Iterator[Row]:
    """Rows of a JSON array, JSON lines or Parquet file.

    Raises:
        UserError: malformed, with file and place.
    """
    return parquet_rows(path) if path.suffix == ".parquet" else json_rows(path)


def json_rows(path: Path) -> Iterator[Row]:
    """Rows of a file that holds one JSON array, or one JSON value a line; may be gzipped.

    Raises:
        UserError: malformed, with file and place.
    """
    try:
        with opened(path) as file:
            is_array = file.read(4096).removeprefix(_BYTE_ORDER_MARK).lstrip().startswith(b"[")
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: expected a readable file, got {error}: copy it again") from error
    return _array_rows(path) if is_array else _line_rows(path)


def json_entries(path: Path, prefix: str) -> Iterator[Row]:
    """Keys and values of the object at `prefix`, each value with its key under `"key"` where it is an object itself.

    Raises:
        UserError: malformed, with file and place.
    """
    with opened(path) as file:
        _skip_byte_order_mark(file)
        pairs = _parsed(ijson.kvitems(file, prefix, use_float=True), file, path)
        for key, value in pairs:
            yield f"{path.name}:{key}", {"key": key, **value} if isinstance(value, dict) else value


def json_fields(path: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """Plain values at the top of a JSON object; reading ends when all are found.

    Raises:
        UserError: malformed, with file and place.
    """
    found: dict[str, Any] = {}
    with opened(path) as file:
        _skip_byte_order_mark(file)
        for prefix, event, value in _parsed(ijson.parse(file, use_float=True), file, path):
            if prefix in names and event in ("string", "number"):
                found[prefix] = value
            if len(found) == len(names):
                break
    return found


def parquet_rows(path: Path) -> Iterator[Row]:
    """Rows of a Parquet file, some thousand in memory at a time.

    Raises:
        UserError: pyarrow is not installed, or this is no Parquet file.
    """
    try:
        parquet = importlib.import_module("pyarrow.parquet")
        errors = importlib.import_module("pyarrow").ArrowException
    except ImportError as error:
        raise UserError(f"{path}: reading Parquet needs pyarrow: pip install 'music-flamingo[data]'") from error
    try:
        with parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=4096):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path.name}:{number}", row
    except (errors, OSError) as error:
        raise UserError(f"{path}: expected a Parquet file, got {error}: copy it again") from error


def csv_rows(path: Path) -> Iterator[Row]:
    """Rows of a CSV file with a header, empty cells left out.

    Raises:
        UserError: not text in UTF-8, or a row has more cells than the header.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            for row in reader:
                if None in row:
                    raise UserError(
                        f"{path}:{reader.line_num}: expected {len(reader.fieldnames or ())} cells, got more: "
                        "put cells that hold a comma in quotation marks"
                    )
                yield f"{path.name}:{reader.line_num}", {name: cell for name, cell in row.items() if cell}
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path}: expected CSV in UTF-8, got {error}: save it so") from error


def opened(path: Path) -> IO[bytes]:
    """A file open for reading, decompressed where it is gzipped."""
    try:
        return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb", buffering=1 << 20)
    except OSError as error:
        raise UserError(f"{path}: expected a readable file, got {error.strerror}: check the path") from error


def _array_rows(path: Path) -> Iterator[Row]:
    with opened(path) as file:
        _skip_byte_order_mark(file)
        rows = _parsed(ijson.items(file, "item", use_float=True), file, path)
        for number, row in enumerate(rows, 1):
            yield f"{path.name}:{number}", row


def _skip_byte_order_mark(file: IO[bytes]) -> None:
    if file.read(len(_BYTE_ORDER_MARK)) != _BYTE_ORDER_MARK:
        file.seek(0)


def _parsed(events: Iterator[Any], file: IO[bytes], path: Path) -> Iterator[Any]:
    """What ijson gives, its complaints in one line."""
    number = 0
    try:
        for event in events:
            number += 1
            yield event
    except (ijson.JSONError, OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"{path}: expected JSON, got {reason} after record {number}, not beyond byte {file.tell()}: mend the file"
        ) from error


def _line_rows(path: Path) -> Iterator[Row]:
    number = 0
    try:
        with opened(path) as file:
            for number, line in enumerate(file, 1):
                if not line.isspace():
                    yield f"{path.name}:{number}", orjson.loads(line.removeprefix(_BYTE_ORDER_MARK))
    except orjson.JSONDecodeError as error:
        raise UserError(
            f"{path}:{number}: expected one JSON object a line, or one array, got {error.msg}: mend the line"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}:{number}: expected readable lines, got {error}: copy the file again") from error
