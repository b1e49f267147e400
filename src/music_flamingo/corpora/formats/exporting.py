"""`music-flamingo data export`: the conversations of a corpus folder as one published file.

Each conversation becomes a record as `hugging_face` and `audio_flamingo_3` read them, with every field that the corpus
knows, so that importing it again gives the same cuts. What importing normalises stays so: questions without a request
to think, `<sound>` alone on a line before the first question, thoughts and answers without space at the ends of their
tags, texts without space around them, the text of an option instead of its letter. `hf` writes JSON lines, `af3` one
JSON array.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.progress import track

from music_flamingo.corpora.formats.audio_files import below
from music_flamingo.corpora.formats.conversation import CONVERSATION_KEYS, turns_from
from music_flamingo.corpora.formats.song_splits import SPLITS
from music_flamingo.corpora.formats.streams import json_rows
from music_flamingo.errors import UserError

BRACKETS = {"hf": (b"", b"\n", b"\n"), "af3": (b"[\n", b",\n", b"\n]\n")}
"""What a format writes before the records, between them and after them."""
_OF_THE_CUT = frozenset({"conversations", "piece", "source", "licence"})
_COPIED = ("id", "task", "question_name", "form", "options", "system", "metadata")
_WRITTEN_ANEW = frozenset(CONVERSATION_KEYS) - frozenset(_COPIED)


def export_command(
    corpus: Path, out: Path, *, format: str = "hf", audio_root: Path | None = None, split: str | None = None
) -> None:
    """Write the conversations of a corpus as one file of a published format.

    Args:
        corpus: corpus folder.
        out: file to write.
        format: hf (JSON lines) or af3 (the JSON array of Audio Flamingo 3).
        audio_root: folder to which paths of audio are relative where they lie below it; by default the one the corpus
            was imported from, else the corpus folder.
        split: one of train, val and test; by default all three, each record naming its own.
    """
    if format not in BRACKETS:
        raise UserError(f"format: expected one of {', '.join(BRACKETS)}, got {format!r}")
    if split not in (None, *SPLITS):
        raise UserError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
    manifests = {name: _manifest(corpus, name) for name in SPLITS if split in (None, name)}
    root = audio_root or _imported_root(corpus) or corpus
    before, between, after = BRACKETS[format]
    number = 0
    with _complete_or_absent(out) as partial, partial.open("wb") as file:
        file.write(before)
        rows = (row for name, path in manifests.items() for row in exported_rows(path, name, corpus, root))
        for number, row in enumerate(track(rows, "writing", total=None, console=Console(stderr=True)), 1):
            file.write((between if number > 1 else b"") + orjson.dumps(row))
        file.write(after if number else after.lstrip())
    print(f"{out}: {number:,} conversations, audio paths relative to {root}")


def exported_rows(manifest: Path, split: str, corpus: Path, root: Path) -> Iterator[dict[str, Any]]:
    """A record for each conversation of a manifest.

    Raises:
        UserError: a line is not a cut of one recording with conversations.
    """
    for place, cut in json_rows(manifest):
        try:
            yield from _cut_rows(cut, split, corpus, root)
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise UserError(
                f"{manifest.parent / place}: expected a cut of one recording with conversations, got "
                f"{type(error).__name__} {error}: see music-flamingo data check {corpus}"
            ) from error


def _cut_rows(cut: Mapping[str, Any], split: str, corpus: Path, root: Path) -> Iterator[dict[str, Any]]:
    custom = cut["custom"]
    recordings = [cut["recording"]]
    while f"sound_{len(recordings) + 1}" in custom:
        recordings.append(custom[f"sound_{len(recordings) + 1}"])
    shared = {
        **_sound_fields(cut, recordings, corpus, root),
        "split": split,
        **{name: custom[name] for name in ("piece", "source", "licence") if name in custom},
    }
    sounds = {f"sound_{number}" for number in range(2, len(recordings) + 1)}
    others = {name: value for name, value in custom.items() if name not in _OF_THE_CUT | sounds}
    for conversation in custom["conversations"]:
        row = {name: value for name, value in conversation.items() if name not in _WRITTEN_ANEW}
        row |= shared
        row |= {name: conversation[name] for name in ("source", "licence") if name in conversation}
        if others:
            row["custom"] = others
        row["conversations"] = _messages(conversation, single=len(recordings) == 1)
        yield row


def _sound_fields(
    cut: Mapping[str, Any], recordings: list[Mapping[str, Any]], corpus: Path, root: Path
) -> dict[str, Any]:
    """Where the sounds are, and which excerpt the cut is."""
    paths = [below(corpus / recording["sources"][0]["source"], root) for recording in recordings]
    recording = recordings[0]
    fields: dict[str, Any] = {"sound": paths[0] if len(paths) == 1 else paths}
    if len(paths) > 1:
        return fields
    is_whole = not cut["start"] and abs(cut["duration"] - recording["duration"]) < 1 / recording["sampling_rate"]
    if not is_whole:
        fields["start"] = cut["start"]
    return fields | {"duration": cut["duration"], "sampling_rate": recording["sampling_rate"]}


def _messages(conversation: Mapping[str, Any], *, single: bool) -> list[dict[str, str]]:
    messages: list[dict[str, str]] = []
    for question, answer in turns_from(conversation):
        marker = "<sound>\n" if single and not messages else ""
        messages.append({"from": "human", "value": f"{marker}{question}"})
        messages.append({"from": "gpt", "value": answer})
    return messages


def _manifest(corpus: Path, split: str) -> Path:
    for suffix in (".jsonl", ".jsonl.gz"):
        path = corpus / f"cuts_{split}{suffix}"
        if path.is_file():
            return path
    raise UserError(f"expected the {split} cuts in {corpus / f'cuts_{split}.jsonl'}, which does not exist")


def _imported_root(corpus: Path) -> Path | None:
    """The folder from which `data import` read the audio; None where the corpus was made otherwise."""
    path = corpus / "import.json"
    if not path.is_file():
        return None
    try:
        return Path(json.loads(path.read_text(encoding="utf-8"))["audio_root"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: expected the record of an import with audio_root, got {error}: remove it") from error


@contextmanager
def _complete_or_absent(out: Path) -> Iterator[Path]:
    """A file beside `out` that takes its name at the end, and goes where something fails."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f"{out.name}.partial")
    try:
        yield partial
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
