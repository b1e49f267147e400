"""The first row of eight songs from a corpus of a million in shards: opening it, drawing eight, reading their audio.

    python -m benchmarks.data shar_start                       a million songs: 5 GB of disk, ten minutes to make
    SHAR_SONGS=10000 python -m benchmarks.data shar_start      fewer

Every song has its own cut and its own copy of 0.1 s of audio, freshly written, so perhaps still in the page cache. The
baseline is what the Shar of lhotse 1.33 offers for the same: reading on from the beginning until a song has come, here
until a thousandth of the songs has.
"""

import gc
import itertools
import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import soundfile
from lhotse import CutSet, Recording

from benchmarks.claim import Claim
from music_flamingo.corpora.shar.index import make_index
from music_flamingo.corpora.shar.shards import write_shard
from music_flamingo.corpora.song_audio import load_waveform
from music_flamingo.corpora.songs import open_songs

SONGS = int(os.environ.get("SHAR_SONGS", "1000000"))
SHARD = 1000
ROW = 8
MOST_SECONDS = 5.0


def claims() -> Iterator[Claim]:
    """Wall-clock seconds: a user waits for the disk too."""
    folder = Path(mkdtemp(prefix="shar-start-", dir=os.environ.get("TMPDIR")))
    try:
        made = time.perf_counter()
        _make(folder)
        made = time.perf_counter() - made
        indexed = time.perf_counter()
        make_index(str(folder / "train"))
        indexed = time.perf_counter() - indexed
        took = _first_row(folder)
        setting = f"{SONGS:,} songs in {SONGS // SHARD:,} shards, made in {made:.0f} s, indexed in {indexed:.0f} s"
        yield Claim("first row of eight songs", setting, "what is allowed", MOST_SECONDS, took, 1.0)
        baseline = f"lhotse's reader, to the {SONGS // 1000:,}th song"
        yield Claim("first row of eight songs", setting, baseline, _lhotse(folder), took, 1.0)
    finally:
        shutil.rmtree(folder)


def _first_row(folder: Path) -> float:
    gc.collect()
    start = time.perf_counter()
    songs = open_songs(str(folder), "train")
    for number in random.Random(0).sample(range(len(songs)), ROW):
        load_waveform(songs[number], 16_000)
    return time.perf_counter() - start


def _lhotse(folder: Path) -> float:
    start = time.perf_counter()
    for cut in itertools.islice(CutSet.from_shar(in_dir=folder / "train"), SONGS // 1000):
        cut.load_audio()
    return time.perf_counter() - start


def _make(folder: Path) -> None:
    audio = folder / "tone.flac"
    soundfile.write(audio, 0.1 * np.sin(np.arange(1_600) / 5), 16_000)
    (folder / "train").mkdir()
    cut = Recording.from_file(audio).to_cut()
    asked = {"task": "qa", "question_name": "mood", "form": "open", "question": "What is the mood?", "answer": "calm"}
    for shard in range(SONGS // SHARD):
        songs = []
        for number in range(shard * SHARD, (shard + 1) * SHARD):
            conversations = [{"id": f"song-{number}-{turn}", **asked} for turn in range(4)]
            songs.append(cut.with_id(f"song-{number}"))
            songs[-1].custom = {"piece": f"piece-{number}", "conversations": conversations}
        write_shard(songs, ["recording"], folder / "train", shard, "original")
