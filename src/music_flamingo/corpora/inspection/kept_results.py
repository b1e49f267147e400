"""`CORPUS/check/findings.partial.jsonl`: what each song's audio was found to be, so that a killed check goes on.

A line is found again by its key, which changes with the file's size and time of change, with the manifest's numbers
and with the settings. A line cut off by the kill is passed over.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from music_flamingo.corpora.inspection.audio_scan import AudioJob, AudioResult


class KeptResults:
    """Results on disk; a context, in which results are added.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, AudioResult] = dict(_read(path)) if path.is_file() else {}

    def __enter__(self) -> "KeptResults":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a", encoding="utf-8")
        if self._file.tell():
            self._file.write("\n")  # the last line may have been cut off
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def get(self, job: AudioJob) -> AudioResult | None:
        return self._known.get(job.key)

    def add(self, job: AudioJob, result: AudioResult) -> None:
        line = {"cut": job.cut, "key": job.key, "result": asdict(result)}
        self._file.write(f"{json.dumps(line)}\n")
        self._file.flush()


def _read(path: Path) -> list[tuple[str, AudioResult]]:
    found = []
    for line in path.read_bytes().splitlines():
        fields = _parsed(line)
        if fields is not None:
            found.append((fields["key"], AudioResult.from_json(fields["result"])))
    return found


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        fields: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return fields
