"""From everything that is said about one song to lhotse cuts: one for each excerpt, with all its conversations.

Cuts are written as plain JSON, as importing lhotse takes longer than importing a hundred thousand conversations.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from music_flamingo.corpora.formats.audio_files import AudioFiles, Header, below
from music_flamingo.corpora.formats.left_out import LeftOut
from music_flamingo.corpora.formats.record import NotImportedError
from music_flamingo.corpora.formats.song_splits import SongSplits

WHOLE_WITHIN = 0.05
"""Seconds by which an excerpt may miss the ends of its file and still be the whole file: manifests round."""
_SHORTENED_BEYOND = 0.1

Entry = dict[str, Any]
"""What is known of a record before its audio is looked at.

Its place, sound (path, start, duration, sampling rate), other sounds, piece, split, custom and conversation.
"""
Excerpt = tuple[float, float] | None
"""Start and duration in seconds; None for a whole file."""


@dataclass(frozen=True)
class SongCuts:
    """Makes the cuts of a song.

    Args:
        files: where audio lies.
        splits: settled.
        out: the corpus folder; audio below it is named relative to it.
        trust_durations: take lengths and rates from records that tell them, and open no file for those.
        left_out: counts what is not imported.
        changed: counts what is imported differently.
        tally: how many files were `trusted` so far instead of being opened.
    """

    files: AudioFiles
    splits: SongSplits
    out: str
    trust_durations: bool
    left_out: LeftOut
    changed: LeftOut
    tally: Counter[str] = field(default_factory=Counter)

    def headers(self, entries: Iterable[Entry]) -> dict[str, Header | str]:
        """Headers of all sounds of these entries, or why there is none."""
        told: dict[str, Header | str] = {}
        unknown: dict[str, None] = {}
        for entry in entries:
            path, start, duration, rate = entry["sound"]
            if not self.trust_durations or start is not None or (duration or 0) * (rate or 0) < 1:
                unknown[path] = None
            elif path not in told:
                told[path] = Header(rate, round(duration * rate), 1)
            unknown |= dict.fromkeys(entry["others"])
        self.tally["trusted"] += len(told)
        return self.files.headers([path for path in unknown if path not in told]) | told

    def cuts(self, song: str, entries: list[Entry], headers: Mapping[str, Header | str]) -> list[dict[str, Any]]:
        """The cuts of a song as JSON, one for each excerpt, in the order in which records first name them."""
        piece = next((entry["piece"] for entry in entries if entry["piece"] is not None), song)
        split = self.splits.split_of(song)
        groups: dict[tuple[Any, ...], list[Entry]] = {}
        for entry in entries:
            try:
                self._require_split(entry, piece, split)
                excerpt = self._excerpt(entry, headers)
            except NotImportedError as reason:
                self.left_out.add(str(reason), entry["place"])
                continue
            groups.setdefault((excerpt, *entry["others"]), []).append(entry)
        return [self._cut(song, excerpt, others, group, headers, piece) for (excerpt, *others), group in groups.items()]

    def _require_split(self, entry: Entry, piece: str, split: str) -> None:
        if entry["piece"] not in (None, piece):
            raise NotImportedError("its sound belongs to another piece")
        if entry["others"] and {*map(self.splits.split_of, entry["others"])} != {split}:
            raise NotImportedError("its sounds are in different splits")
        if not self.splits.forced and entry["split"] not in (None, split):
            raise NotImportedError(f"a {entry['split']} record of a song in {split}")

    def _excerpt(self, entry: Entry, headers: Mapping[str, Header | str]) -> Excerpt:
        path, start, duration, _ = entry["sound"]
        header = headers[path]
        for problem in (header, *(headers[other] for other in entry["others"])):
            if isinstance(problem, str):
                raise NotImportedError(problem)
        if start is None or isinstance(header, str):
            return None
        excerpt, shortened = excerpt_within(start, duration, header.duration)
        if shortened:
            self.changed.add("excerpts shortened to the end of their audio", entry["place"])
        return excerpt

    def _cut(
        self,
        song: str,
        excerpt: Excerpt,
        others: list[str],
        entries: list[Entry],
        headers: Mapping[str, Header | str],
        piece: str,
    ) -> dict[str, Any]:
        cut_id = cut_name(song, excerpt, others)
        recordings = [self._recording(path, headers[path]) for path in (song, *others)]
        custom = self._custom(entries)
        conversations = with_unique_ids([entry["conversation"] for entry in entries], cut_id)
        shared = {name: conversations[0][name] for name in ("source", "licence")}
        for conversation in conversations:
            for name, value in shared.items():
                if conversation[name] == value:
                    del conversation[name]
        custom |= {"piece": piece, **shared}
        custom |= {f"sound_{number}": recording for number, recording in enumerate(recordings[1:], 2)}
        return cut_json(cut_id, recordings[0], excerpt, custom | {"conversations": conversations})

    def _custom(self, entries: list[Entry]) -> dict[str, Any]:
        """The records' own fields of the cut; the first one that tells a field counts."""
        custom: dict[str, Any] = {}
        for entry in entries:
            for name, value in (entry["custom"] or {}).items():
                if custom.setdefault(name, value) != value:
                    self.changed.add(f"custom.{name} differs within a sound: the first counts", entry["place"])
        return custom

    def _recording(self, path: str, header: Header | str) -> dict[str, Any]:
        if isinstance(header, str):
            raise NotImportedError(header)
        return recording_json(path, below(self.files.full_path(path), self.out), header)


def excerpt_within(start: float, duration: float | None, available: float) -> tuple[Excerpt, bool]:
    """Which part of a file an excerpt is, and whether it had to be shortened.

    Args:
        start: seconds.
        duration: seconds; None up to the end.
        available: seconds of the file.

    Raises:
        NotImportedError: there is nothing between its ends.
    """
    wanted = available if duration is None else start + duration
    end = min(wanted, available)
    if start >= available:
        raise NotImportedError("an excerpt after the end of its audio")
    if end <= start:
        raise NotImportedError("an excerpt without length")
    shortened = wanted > available + _SHORTENED_BEYOND
    if start <= WHOLE_WITHIN and end >= available - WHOLE_WITHIN:
        return None, shortened
    return (round(start, 6), round(end - start, 6)), shortened


def cut_name(song: str, excerpt: Excerpt, others: Iterable[str] = ()) -> str:
    """The id of a cut: its sounds, and the ends of an excerpt in seconds."""
    part = "" if excerpt is None else f"#{excerpt[0]:.10g}-{excerpt[0] + excerpt[1]:.10g}"
    return "+".join((f"{song}{part}", *others))


def with_unique_ids(conversations: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """The conversations of a cut with ids that tell them apart: their own, with a number where one comes again."""
    taken: set[str] = set()
    for number, conversation in enumerate(conversations):
        wanted = conversation["id"] or f"{name}-{number}"
        unique, again = wanted, 1
        while unique in taken:
            again += 1
            unique = f"{wanted}-{again}"
        taken.add(unique)
        conversation["id"] = unique
    return conversations


def recording_json(name: str, source: str, header: Header) -> dict[str, Any]:
    """A lhotse Recording."""
    channels = list(range(header.channels))
    return {
        "id": name,
        "sources": [{"type": "file", "channels": channels, "source": source}],
        "sampling_rate": header.sampling_rate,
        "num_samples": header.num_samples,
        "duration": header.duration,
        "channel_ids": channels,
    }


def cut_json(name: str, recording: dict[str, Any], excerpt: Excerpt, custom: dict[str, Any]) -> dict[str, Any]:
    """A lhotse cut: a MonoCut, or a MultiCut where the recording has several channels, as all of them are heard."""
    start, duration = excerpt or (0.0, recording["duration"])
    channels = recording["channel_ids"]
    return {
        "id": name,
        "start": start,
        "duration": duration,
        "channel": channels if len(channels) > 1 else channels[0],
        "supervisions": [],
        "recording": recording,
        "custom": custom,
        "type": "MultiCut" if len(channels) > 1 else "MonoCut",
    }
