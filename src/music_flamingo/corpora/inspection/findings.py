"""What can be wrong with a corpus: every kind of finding, how bad it is, and what to do about it."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Kind:
    """One thing that can be wrong.

    Attributes:
        severity: "error" where the song or conversation cannot or must not be trained on.
        title: what a reader sees instead of the name.
        remedy: what to do.
    """

    severity: Severity
    title: str
    remedy: str


KINDS = {
    # The manifest and its paths
    "bad_line": Kind("error", "line that is no cut", "mend the line of the manifest: training stops at it"),
    "duplicate_id": Kind("error", "id used twice", "give each song an id of its own: features are kept by id"),
    "outside_root": Kind("error", "path outside the corpus", "move the file below the corpus, or use --allow_outside"),
    "symlink_outside": Kind("error", "link that leaves the corpus", "replace the link by the file, or --allow_outside"),
    "not_a_file": Kind("error", "source that is no file", "store the audio in a file: commands and URLs are not read"),
    "bad_archive": Kind("error", "archive that writes elsewhere", "do not unpack it; make it again with plain names"),
    "broken_archive": Kind("error", "archive that cannot be read", "copy or make the archive again"),
    # The audio
    "missing": Kind("error", "missing file", "restore the file, or remove the line"),
    "unreadable": Kind("error", "unreadable audio", "convert or replace the file"),
    "empty": Kind("error", "no samples", "replace the file"),
    "truncated": Kind("error", "cut short", "copy the file again, or mend the manifest's length"),
    "too_short": Kind("error", "shorter than 40 ms", "remove the song: the model hears steps of 40 ms"),
    "too_long": Kind("error", "longer than the model takes", "cut the song, or raise --max_seconds and the recipe's"),
    "too_much_audio": Kind("error", "too much audio to decode", "cut the file, or raise --max_decoded_hours"),
    "timeout": Kind("error", "took too long to read", "look at the file; raise --timeout if the disk is slow"),
    "non_finite": Kind("error", "NaN or infinite samples", "export the file again"),
    "silent": Kind("error", "silence", "replace the file"),
    "cancels_in_mono": Kind("error", "channels cancel out", "turn one channel's phase: songs are heard in mono"),
    "wrong_manifest": Kind("error", "manifest and file disagree", "make the manifest again from the file"),
    "wrong_header": Kind("warning", "header and file disagree", "write the file again: not all readers read the same"),
    "mostly_silent": Kind("warning", "mostly silence", "check that the right file was exported"),
    "dc_offset": Kind("warning", "DC offset", "subtract the mean"),
    "clipped": Kind("warning", "clipped", "use a version with more headroom if there is one"),
    "unusual_format": Kind("warning", "unusual rate or channels", "check that averaging all channels is what you want"),
    "leak": Kind("error", "same audio in two splits", "keep the song in one split"),
    "duplicate_audio": Kind("warning", "same audio twice", "merge the two: their conversations can share one song"),
    # The texts
    "bad_conversation": Kind("error", "conversation that cannot be asked", "mend its fields: training stops at it"),
    "empty_text": Kind("error", "empty question or answer", "write it, or remove the conversation"),
    "answer_not_in_options": Kind("error", "answer not among the options", "mend the answer or the options"),
    "label_leak": Kind("warning", "question tells the answer", "word the question differently"),
    "duplicate_text": Kind("warning", "same question and answer twice", "remove one of the two"),
    # Other corpora and benchmarks
    "overlap_id": Kind("error", "id in a benchmark", "keep the song out of training"),
    "overlap_text": Kind("error", "text in a benchmark", "keep the conversation out of training"),
    "overlap_audio": Kind("error", "audio in a benchmark", "keep the song out of training"),
}
"""In the order in which pages and tables list them."""
OVERLAP_KINDS = frozenset(name for name in KINDS if name.startswith("overlap_"))
CHECK_KINDS = frozenset(KINDS) - OVERLAP_KINDS


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: a name in `KINDS`.
        detail: what was found, in words.
        cut: id of the song; None for an archive, or a line without an id.
        split: of the song.
        path: of the audio as the manifest gives it, of an archive, or of the manifest with the line.
        conversation: id, where it is about a conversation and not about the song.
    """

    kind: str
    detail: str
    cut: str | None = None
    split: str | None = None
    path: str | None = None
    conversation: str | None = None

    @property
    def severity(self) -> Severity:
        return KINDS[self.kind].severity

    def record(self) -> dict[str, Any]:
        """As `findings.json` holds it."""
        return {**asdict(self), "severity": self.severity}
