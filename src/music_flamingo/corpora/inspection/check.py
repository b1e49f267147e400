"""`music-flamingo data check`: everything that is wrong with a corpus, before a training finds out.

CORPUS/check/findings.json           every finding, counts, settings, versions
CORPUS/check/report.html             the same as a page
CORPUS/check/findings.partial.jsonl  what is known of each song's audio: a second check reads only what changed
CORPUS/quarantine.jsonl              what training leaves out: findings of severity error
"""

import json
import os
import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import soundfile
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from music_flamingo.corpora.inspection.audio_scan import AudioJob, AudioResult, Problem, scan_audio
from music_flamingo.corpora.inspection.check_page import write_check_page
from music_flamingo.corpora.inspection.findings import CHECK_KINDS, KINDS, Finding
from music_flamingo.corpora.inspection.guarded_pool import Failure, GuardedPool
from music_flamingo.corpora.inspection.kept_results import KeptResults
from music_flamingo.corpora.inspection.paths import archive_findings
from music_flamingo.corpora.inspection.quarantine import quarantine_path, write_quarantine
from music_flamingo.corpora.inspection.repeats import Repeats
from music_flamingo.corpora.inspection.song_checks import SongLimits, audio_job, manifest_findings
from music_flamingo.corpora.inspection.songs import SPLITS, count_songs, read_songs, splits_of
from music_flamingo.errors import ErrorsFoundError
from music_flamingo.whole_files import write_text


def check_command(  # noqa: PLR0913 - one option each
    corpus: Path,
    *,
    max_seconds: float = 1200.0,
    max_decoded_hours: float = 4.0,
    timeout: float = 60.0,
    workers: int | None = None,
    allow_outside: bool = False,
    strict: bool = False,
) -> None:
    """Look for what is wrong with a corpus, and put it into quarantine.

    Args:
        corpus: folder with `cuts_train`, `cuts_val` and `cuts_test`.
        max_seconds: longest song that the model takes.
        max_decoded_hours: audio of one file; what promises more is not decoded.
        timeout: seconds that a song may take to check.
        workers: processes; by default one for each core. The result is the same.
        allow_outside: let paths and links lead out of the corpus folder.
        strict: end with status 1 where there is an error.

    Raises:
        UserError: the folder is no corpus.
        ErrorsFoundError: with `strict`.
    """
    limits = SongLimits(max_seconds, max_decoded_hours, allow_outside)
    report = check_corpus(corpus, limits, workers or os.cpu_count() or 1, timeout)
    counts = report["counts"]
    summary = f"{_count(counts['errors'], 'error')} and {_count(counts['warnings'], 'warning')} in {_size(counts)}"
    Console().print(f"{summary}: {corpus / 'check' / 'report.html'}", soft_wrap=True, highlight=False, markup=False)
    if strict and counts["errors"]:
        raise ErrorsFoundError(
            f"{corpus}: expected no errors, found {counts['errors']}: see {corpus / 'check' / 'report.html'}, or "
            f"train without what {quarantine_path(corpus)} lists"
        )


def check_corpus(corpus: Path, limits: SongLimits, num_workers: int, timeout: float) -> dict[str, Any]:
    """Check a corpus and write what was found.

    Returns:
        What `findings.json` holds. The same corpus and settings give the same, whenever the check was interrupted.
    """
    check = _Check(corpus, limits, splits_of(corpus))
    with KeptResults(corpus / "check" / "findings.partial.jsonl") as kept, _progress() as progress:
        task = progress.add_task("checking songs", total=check.count_songs())
        pool = GuardedPool(scan_audio, num_workers, timeout)

        def unknown_jobs() -> Iterator[AudioJob]:
            for job in check.jobs(lambda: progress.advance(task)):
                result = kept.get(job)
                if result is None:
                    yield job
                else:
                    check.add_result(job, result)
                    progress.advance(task)

        for job, outcome in pool.run(unknown_jobs()):
            if isinstance(outcome, Failure):
                check.add_failure(job, outcome)
            else:
                kept.add(job, outcome)
                check.add_result(job, outcome)
            progress.advance(task)
    settings = {**asdict(limits), "timeout": timeout}
    return _write(corpus, check, settings)


@dataclass
class _Check:
    """A check under way."""

    corpus: Path
    limits: SongLimits
    splits: Sequence[str]
    findings: list[Finding] = field(default_factory=list)
    repeats: Repeats = field(default_factory=Repeats)
    songs: Counter[str] = field(default_factory=Counter)
    num_conversations: int = 0
    seconds: float = 0.0

    def count_songs(self) -> int | None:
        counts = [count_songs(self.corpus, split) for split in self.splits]
        return None if None in counts else sum(count for count in counts if count is not None)

    def jobs(self, on_song_without_audio: Any) -> Iterator[AudioJob]:
        """Check manifests and archives, and give the audio to look at."""
        self.findings += archive_findings(self.corpus)
        for split in self.splits:
            for cut in read_songs(self.corpus, split):
                job = None
                if isinstance(cut, Finding):
                    self.findings.append(cut)
                else:
                    self.songs[split] += 1
                    self.num_conversations += len(cut.custom["conversations"])
                    self.seconds += cut.duration
                    self.repeats.add_id(cut.id, split)
                    self.findings += manifest_findings(self.corpus, split, cut, self.limits)
                    job = audio_job(self.corpus, split, cut, self.limits)
                if job is None:
                    on_song_without_audio()
                else:
                    self.repeats.add_files(job)
                    yield job

    def add_result(self, job: AudioJob, result: AudioResult) -> None:
        self.findings += [Finding(each.kind, each.detail, job.cut, job.split, each.path) for each in result.problems]
        if result.digest is not None and not _is_without_content(result.problems):
            self.repeats.add_content(job, result.digest)

    def add_failure(self, job: AudioJob, failure: Failure) -> None:
        kind = "timeout" if failure.is_timeout else "unreadable"
        self.findings.append(Finding(kind, failure.detail, job.cut, job.split, job.files[0].shown))

    def sorted_findings(self) -> list[Finding]:
        """By split, song and kind, each once."""
        kinds = list(KINDS)
        order = (*SPLITS, None)

        def place(each: Finding) -> tuple[Any, ...]:
            texts = (each.cut or "", each.conversation or "", kinds.index(each.kind), each.path or "", each.detail)
            return (order.index(each.split), *texts)

        return sorted(dict.fromkeys([*self.findings, *self.repeats.findings()]), key=place)


def _is_without_content(problems: Sequence[Problem]) -> bool:
    """Whether two such songs may be equal without being the same song."""
    return bool({"empty", "too_short", "silent", "non_finite"} & {problem.kind for problem in problems})


def _write(corpus: Path, check: _Check, settings: dict[str, Any]) -> dict[str, Any]:
    findings = check.sorted_findings()
    quarantined = write_quarantine(corpus, findings, CHECK_KINDS)
    by_kind = Counter(finding.kind for finding in findings)
    report = {
        "corpus": corpus.resolve().name,
        "settings": settings,
        "versions": {
            "python": platform.python_version(),
            "libsndfile": soundfile.__libsndfile_version__,
            **{name: version(name) for name in ("music-flamingo", "lhotse", "soundfile", "numpy")},
        },
        "counts": {
            "songs": {split: check.songs[split] for split in check.splits},
            "hours": round(check.seconds / 3600, 3),
            "conversations": check.num_conversations,
            "errors": sum(finding.severity == "error" for finding in findings),
            "warnings": sum(finding.severity == "warning" for finding in findings),
            "songs_in_quarantine": len({line.cut for line in quarantined if line.conversation is None}),
            "conversations_in_quarantine": len({line[:2] for line in quarantined if line.conversation is not None}),
        },
        "by_kind": {kind: by_kind[kind] for kind in KINDS if by_kind[kind]},
        "findings": [finding.record() for finding in findings],
    }
    folder = corpus / "check"
    write_text(folder / "findings.json", json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    write_check_page(folder / "report.html", report)
    return report


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _size(counts: dict[str, Any]) -> str:
    songs = _count(sum(counts["songs"].values()), "song")
    return f"{songs} ({counts['hours']:.1f} h) with {_count(counts['conversations'], 'conversation')}"
