"""`CORPUS/quarantine.jsonl`: songs and conversations that training leaves out, one JSON object per line.

`{"cut": id, "conversation": id or null, "kind": "silent"}`; without a conversation the whole song is meant.
Lines of kinds that no check of ours writes are a person's own, and stay.
"""

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from music_flamingo.corpora.inspection.findings import Finding
from music_flamingo.errors import UserError
from music_flamingo.whole_files import write_text


class Quarantined(NamedTuple):
    """A line of the file."""

    cut: str
    conversation: str | None
    kind: str


def quarantine_path(corpus: Path) -> Path:
    """Where the file is."""
    return corpus / "quarantine.jsonl"


def read_quarantine(corpus: Path) -> list[Quarantined]:
    """What is in quarantine; nothing where there is no such file.

    Raises:
        UserError: a line is not as described above.
    """
    path = quarantine_path(corpus)
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [_parsed(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]


def write_quarantine(corpus: Path, findings: Iterable[Finding], replaced: Collection[str]) -> list[Quarantined]:
    """Write what findings of severity error are about, instead of all lines whose kind is in `replaced`.

    Returns:
        Every line of the file.
    """
    kept = [line for line in read_quarantine(corpus) if line.kind not in replaced]
    errors = [finding for finding in findings if finding.severity == "error"]
    found = [Quarantined(each.cut, each.conversation, each.kind) for each in errors if each.cut is not None]
    lines = list(dict.fromkeys([*kept, *found]))
    path = quarantine_path(corpus)
    if lines or path.is_file():
        write_text(path, "".join(f"{json.dumps(line._asdict(), ensure_ascii=False)}\n" for line in lines))
    return lines


def _parsed(line: str, place: str) -> Quarantined:
    try:
        fields = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"{place}: expected JSON, got {error.msg}: mend or remove the line") from error
    cut = fields.get("cut") if isinstance(fields, dict) else None
    if not isinstance(cut, str):
        raise UserError(f'{place}: expected {{"cut": "id", ...}}, got {line.strip()[:80]}: mend or remove the line')
    conversation = fields.get("conversation")
    return Quarantined(cut, None if conversation is None else str(conversation), str(fields.get("kind")))
