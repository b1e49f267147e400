"""Facts about this machine, a run's folder and a corpus: looked up, tried out, and not judged."""

import os
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile

import torch
import torch.distributed as dist

from music_flamingo.checkpoint_folder import is_whole, newest_first
from music_flamingo.corpora.inspection.audio_scan import scan_audio
from music_flamingo.corpora.inspection.findings import KINDS, Finding
from music_flamingo.corpora.inspection.song_checks import SongLimits, audio_job, manifest_findings
from music_flamingo.corpora.inspection.songs import SPLITS, read_songs
from music_flamingo.corpora.songs import holds_split
from music_flamingo.planning.checks import Gpus
from music_flamingo.run_resume import CHECKPOINTS

FIRST_SONGS, HEARD_SONGS = 200, 4
"""Of each split: lines that are read, and songs whose audio is decoded."""
MEGABYTE = 1024**2


def is_corpus(place: Path) -> bool:
    """Whether a folder holds songs."""
    return any(holds_split(place, split) for split in SPLITS)


def gpus_here() -> Gpus:
    """What torch and nvidia-smi say."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    properties = [torch.cuda.get_device_properties(number) for number in range(count)]
    return Gpus(
        built_for=torch.version.cuda,
        names=[each.name for each in properties],
        memory=[each.total_memory for each in properties],
        driver=_driver(),
        has_bfloat16=not count or torch.cuda.is_bf16_supported(),
    )


def gloo_error() -> str | None:
    """What goes wrong when a process group of one is made with gloo; None where nothing does."""
    if dist.is_initialized():
        return None
    try:
        store = dist.HashStore()  # type: ignore[attr-defined]
        dist.init_process_group("gloo", store=store, rank=0, world_size=1)
        dist.all_reduce(torch.ones(1))
    except RuntimeError as error:
        return str(error).strip().splitlines()[0]
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    return None


def fsync_seconds(folder: Path) -> float:
    """Until a megabyte is on disk."""
    with TemporaryFile(dir=folder) as file:
        file.write(bytes(MEGABYTE))
        file.flush()
        start = time.perf_counter()
        os.fsync(file.fileno())
        return time.perf_counter() - start


def has_nccl() -> bool:
    """Whether torch was built with it."""
    return dist.is_nccl_available()


def checkpoints(run: Path) -> dict[str, bool]:
    """Those of a run, newest first, and whether each is whole."""
    return {path.name: is_whole(path) for path in newest_first(run / CHECKPOINTS)}


def look_at_corpus(corpus: Path) -> tuple[int, list[tuple[str, str]]]:
    """How many of its first songs were looked at, and what is wrong with them: how bad it is, and in words."""
    findings: list[Finding] = []
    songs, limits = 0, SongLimits()
    for split in SPLITS:
        if not holds_split(corpus, split):
            continue
        for number, cut in enumerate(islice(read_songs(corpus, split), FIRST_SONGS)):
            if isinstance(cut, Finding):
                findings.append(cut)
                continue
            songs += 1
            findings += manifest_findings(corpus, split, cut, limits)
            job = audio_job(corpus, split, cut, limits) if number < HEARD_SONGS else None
            if job is not None:
                problems = scan_audio(job).problems
                findings += [Finding(each.kind, each.detail, cut.id, split, each.path) for each in problems]
    return songs, [(each.severity, _words(each)) for each in findings]


def _words(finding: Finding) -> str:
    song = f"{finding.cut}: " if finding.cut else ""
    path = f" ({finding.path})" if finding.path else ""
    return f"{song}{KINDS[finding.kind].title}: {finding.detail}{path}"


def _driver() -> str | None:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return printed.strip().splitlines()[0] if printed.strip() else None


def version_of(package: str) -> str | None:
    """Of an installed package; None where it is not."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
