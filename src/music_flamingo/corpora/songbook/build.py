"""Make a songbook: from music21's scores to a folder of cuts with audio, questions and answers.

    DIR/corpus.json                     settings, version, counts
    DIR/cuts_{train,val,test}.jsonl.gz  lhotse manifests, paths relative to DIR
    DIR/audio/<split>/<cut>.flac        16 kHz mono
    DIR/vocabulary.json, DIR/leaks.json

The same settings give the same bytes, whatever the number of workers. The folder appears only when it is
complete.
"""

import functools
import json
import multiprocessing
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from music_flamingo.corpora.songbook import captions, leaks, observations, questions, vocabulary
from music_flamingo.corpora.songbook.arrangement import arrange
from music_flamingo.corpora.songbook.catalogue import LICENCES, corpus_root, list_candidates
from music_flamingo.corpora.songbook.manifest import cut_json, write_json, write_jsonl
from music_flamingo.corpora.songbook.schedule import SPLITS, Plan, plan_clips, plan_full_pieces
from music_flamingo.corpora.songbook.scores import Piece, gather_pieces, read_piece
from music_flamingo.corpora.songbook.settings import SongbookSettings, identity, is_built
from music_flamingo.corpora.songbook.synthesis import default_soundfont, render, write_flac

# For 1,500 clips or more: they take some 30 CPU-seconds to parse, and leave 60 and more for the test split.
_QUOTAS = {"fiddle tune": 200, "chorale": 60, "renaissance": 40, "quartet": 10}
_SMALLEST_QUOTAS = {"fiddle tune": 20, "chorale": 6, "renaissance": 4, "quartet": 1}

Mapper = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""`map`, perhaps in several processes."""


def songbook_command(  # noqa: PLR0913 - one option each
    out: Path,
    *,
    clips: int = 2800,
    clip_seconds: float = 10.0,
    full_pieces: int = 24,
    full_seconds: tuple[int, int] = (120, 200),
    seed: int = 0,
    workers: int | None = None,
    soundfont: Path | None = None,
) -> None:
    """Make a corpus of real music with exact answers, from the scores that music21 ships.

    Args:
        out: folder to make.
        clips: excerpts in train, validation and test together.
        clip_seconds: length of each.
        full_pieces: long renderings beside the clips.
        full_seconds: shortest and longest of them, 60 to 600.
        seed: another seed chooses other pieces and other renderings.
        workers: processes; by default one for each core. The result is the same.
        soundfont: General MIDI .sf2 file; by default the one that pretty_midi ships.
    """
    settings = SongbookSettings(clips, clip_seconds, full_pieces, full_seconds, seed, workers, soundfont)
    build_songbook(out, settings)


def build_songbook(out: Path, settings: SongbookSettings) -> None:
    """Write the corpus folder `out`; nothing is done where it holds this corpus already.

    Raises:
        UserError: `out` holds something else, or there is no soundfont.
    """
    soundfont = settings.soundfont or default_soundfont()
    wanted = identity(settings, soundfont)
    if is_built(out, wanted):
        print(f"{out} holds this songbook already, nothing to do")
        return
    dropped: Counter[str] = Counter()
    with _complete_or_absent(out) as folder, _pool(settings.workers or os.cpu_count() or 1) as pool:
        pieces = _read_pieces(settings, pool, dropped)
        plans = plan_clips(pieces, settings.clips, settings.clip_seconds, settings.seed)
        plans += plan_full_pieces(pieces, settings.full_pieces, settings.full_seconds, settings.seed)
        cuts = _make_cuts(plans, pieces, pool, _CutMaker(soundfont, folder, settings.seed))
        counts = {
            "pieces": _tally(piece.tradition for piece in pieces),
            "scores_left_out": _tally(dropped.elements()),
        }
        _write(folder, cuts, wanted, counts)
    _report(out)


@dataclass(frozen=True)
class _CutMaker:
    """Renders a plan into `folder`; callable, so that it can be sent to another process."""

    soundfont: Path
    folder: Path
    seed: int

    def __call__(self, job: tuple[Piece, Plan]) -> dict[str, Any]:
        """Write the audio and return the manifest's row."""
        piece, plan = job
        arrangement = arrange(piece, plan)
        samples = render(arrangement.events, plan.seconds, self.soundfont, arrangement.hush_at)
        audio = f"audio/{plan.split}/{plan.cut_id}.flac"
        write_flac(self.folder / audio, samples)
        custom = self._custom(piece, plan, arrangement.truth)
        return cut_json(plan.cut_id, audio, len(samples), custom)

    def _custom(self, piece: Piece, plan: Plan, truth: dict[str, Any]) -> dict[str, Any]:
        observed = observations.observe(truth)
        fields = captions.metadata(truth, piece.tradition)
        rng = random.Random(f"{self.seed} {plan.cut_id}")
        conversations = questions.ask(truth, observed, fields, cut_id=plan.cut_id, tradition=piece.tradition, rng=rng)
        return {
            "piece": piece.name,
            "tradition": piece.tradition,
            "source": _source(),
            "licence": LICENCES[piece.tradition],
            "kind": "full" if plan.sections else "clip",
            "difficulty": DIFFICULTIES.get(truth["texture"], FULL_PIECE_DIFFICULTY),
            "truth": truth,
            "metadata": fields,
            "observations": observed,
            "conversations": conversations,
        }


DIFFICULTIES = {"solo": 1, "duet": 2, "full": 3}
"""By which a curriculum lets clips in: how many lines have to be heard apart."""
FULL_PIECE_DIFFICULTY = 4


@functools.cache
def _source() -> str:
    return f"music21 corpus {version('music21')}"


@contextmanager
def _complete_or_absent(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its name at the end, and goes where something fails."""
    folder = out.absolute().with_name(out.name + ".partial")
    # Left behind only by a run that was killed.
    shutil.rmtree(folder, ignore_errors=True)
    for split in SPLITS:
        (folder / "audio" / split).mkdir(parents=True)
    try:
        yield folder
        folder.replace(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _pool(workers: int) -> Iterator[Mapper]:
    """`map` over processes, results in order. One worker is this process."""
    if workers == 1:
        yield map
        return
    # A forked child of a process with threads, as torch starts them, may hang; a spawned one cannot.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as executor:
        yield functools.partial(executor.map, chunksize=4)


def _read_pieces(settings: SongbookSettings, pool: Mapper, dropped: Counter[str]) -> list[Piece]:
    candidates = list_candidates(corpus_root(), dropped)
    quotas = _quotas(settings.clips)
    with Console(stderr=True).status("reading scores"):
        return gather_pieces(candidates, quotas, settings.seed, functools.partial(pool, read_piece), dropped)


def _quotas(clips: int) -> dict[str, int]:
    """Pieces wanted of each tradition: fewer for few clips, more where each would be heard too often."""
    scale = max(min(1.0, clips / 1500), clips / 2800)
    return {name: max(_SMALLEST_QUOTAS[name], round(scale * quota)) for name, quota in _QUOTAS.items()}


def _make_cuts(plans: Sequence[Plan], pieces: Sequence[Piece], pool: Mapper, maker: _CutMaker) -> list[dict[str, Any]]:
    by_name = {piece.name: piece for piece in pieces}
    # Long ones first, so that no process is left alone with them at the end.
    jobs = [(by_name[plan.piece], plan) for plan in sorted(plans, key=lambda plan: -plan.seconds)]
    cuts = track(pool(maker, jobs), "making music", len(jobs), console=Console(stderr=True))
    return sorted(cuts, key=lambda cut: str(cut["id"]))


def _write(folder: Path, cuts: Sequence[dict[str, Any]], wanted: dict[str, Any], counts: dict[str, Any]) -> None:
    """Everything but the audio."""
    by_split = {split: [cut for cut in cuts if _split(cut) == split] for split in SPLITS}
    for split, rows in by_split.items():
        write_jsonl(folder / f"cuts_{split}.jsonl.gz", rows)
    write_json(folder / "vocabulary.json", vocabulary.songbook_vocabulary())
    known = {
        split: [{"truth": cut["custom"]["truth"], "piece": cut["custom"]["piece"]} for cut in rows]
        for split, rows in by_split.items()
    }
    write_json(folder / "leaks.json", leaks.leak_table(known["train"], known["test"]))
    counts["splits"] = {split: _split_counts(rows) for split, rows in by_split.items()}
    record = {"version": wanted["version"], "seed": wanted["seed"], "settings": wanted, "source": _source()}
    write_json(folder / "corpus.json", record | {"licences": LICENCES, "counts": counts})


def _split(cut: dict[str, Any]) -> str:
    return Path(cut["recording"]["sources"][0]["source"]).parent.name


def _tally(names: Iterable[str]) -> dict[str, int]:
    """Names and how often each comes, the most frequent first."""
    return dict(sorted(Counter(names).items(), key=lambda item: (-item[1], item[0])))


def _split_counts(cuts: Sequence[dict[str, Any]]) -> dict[str, float]:
    return {
        "cuts": len(cuts),
        "full_pieces": sum(cut["custom"]["kind"] == "full" for cut in cuts),
        "pieces": len({cut["custom"]["piece"] for cut in cuts}),
        "hours": round(sum(cut["duration"] for cut in cuts) / 3600, 3),
    }


def _report(out: Path) -> None:
    """Print what was made."""
    counts = json.loads((out / "corpus.json").read_text(encoding="utf-8"))["counts"]
    for title in ("pieces", "scores_left_out"):
        listed = (f"{number} {name}" for name, number in counts[title].items())
        print(f"{title.replace('_', ' ')}: {', '.join(listed) or 'none'}")
    for split, row in counts["splits"].items():
        print(f"{split}: {row['cuts']} cuts of {row['pieces']} pieces, {row['hours']:.2f} h")
    print(leaks.format_leaks(json.loads((out / "leaks.json").read_text(encoding="utf-8"))))
    print(out)
