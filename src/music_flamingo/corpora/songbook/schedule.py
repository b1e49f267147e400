"""The plan of a songbook: which piece is played how in which clip.

Every choice comes from its own shuffled deck with equal numbers of each value, so that no attribute tells
anything about another; a piece stays in one split, and each split covers mode and meter evenly.
"""

import itertools
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from music_flamingo.corpora.songbook.palette import PALETTE
from music_flamingo.corpora.songbook.scores import Piece
from music_flamingo.corpora.songbook.vocabulary import BPM_RANGE
from music_flamingo.errors import UserError

SPLITS = ("train", "val", "test")
TEXTURES = ("solo", "duet", "full")
# Shares in tenths, as a deck holds whole cards.
CHANGES = ("none",) * 4 + ("louder",) * 2 + ("softer",) * 2 + ("pause",) * 2
# Sections make a full piece louder and softer already; a pause is none of theirs.
CHANGES_OF_FULL_PIECES = ("none", "pause")
CLIP_SHARES = {"train": 0.84, "val": 0.06, "test": 0.10}
# More of the pieces than of the clips: an interval around a score depends on the number of different pieces.
PIECE_SHARES = {"train": 0.68, "val": 0.10, "test": 0.22}
_MIN_SECTIONS, _MAX_SECTIONS = 3, 5

Value = TypeVar("Value")


@dataclass(frozen=True)
class Setting:
    """How a piece is played; the fractions in [0, 1) are given a meaning by the arrangement.

    Attributes:
        instruments: in order of entry; a solo is played by the first.
        tonic: pitch class after transposition.
        is_upper_first: whether the first instrument plays the upper lines.
        start: fraction of the piece where the excerpt begins.
        entry: fraction of the window in which the second instrument enters.
        change_at: fraction of the window in which the change happens.
        chord: fraction of the triads that are heard, of which one is asked for.
    """

    instruments: tuple[str, str]
    drums: bool
    bpm: int
    tonic: int
    is_upper_first: bool
    start: float
    entry: float
    change_at: float
    chord: float


@dataclass(frozen=True)
class Plan:
    """What is played in one cut of `seconds`.

    Attributes:
        texture: of a clip; None for a full piece.
        sections: (texture, fraction of the cut where it begins) of a full piece; empty for a clip.
        change: "none", "louder", "softer" or "pause".
    """

    cut_id: str
    split: str
    piece: str
    seconds: float
    setting: Setting
    texture: str | None
    sections: tuple[tuple[str, float], ...] = ()
    change: str = "none"


def deal(values: Sequence[Value], count: int, rng: random.Random) -> list[Value]:
    """`count` cards of a shuffled deck in which the numbers of any two values differ by one at most."""
    rest = list(values)
    rng.shuffle(rest)
    cards = list(values) * (count // len(values)) + rest[: count % len(values)]
    rng.shuffle(cards)
    return cards


def split_pieces(pieces: Sequence[Piece], seed: int) -> dict[str, str]:
    """Split of each piece by name: works stay whole, traditions, modes and meters are spread over the splits.

    Walks through the works ordered by tradition, mode and meter, and gives each to the split that lacks most.
    """
    works: dict[str, list[Piece]] = defaultdict(list)
    for piece in pieces:
        works[piece.work].append(piece)
    rng = random.Random(f"{seed} splits")
    order = sorted(works.values(), key=lambda work: (_cell(work[0]), rng.random()))
    dealt = dict.fromkeys(SPLITS, 0)
    due = dict.fromkeys(SPLITS, 0.0)
    splits = {}
    for work in order:
        for split in SPLITS:
            due[split] += PIECE_SHARES[split] * len(work)
        chosen = max(SPLITS, key=lambda split: due[split] - dealt[split])
        dealt[chosen] += len(work)
        splits.update({piece.name: chosen for piece in work})
    return splits


def plan_clips(pieces: Sequence[Piece], clips: int, seconds: float, seed: int) -> list[Plan]:
    """Plans of `clips` excerpts over all splits.

    Raises:
        UserError: a split that gets clips has no pieces.
    """
    splits = split_pieces(pieces, seed)
    plans: list[Plan] = []
    for split, count in share_out(clips).items():
        rng = random.Random(f"{seed} clips {split}")
        names = _deal_pieces([piece for piece in pieces if splits[piece.name] == split], count, rng)
        textures = deal(TEXTURES, count, rng)
        changes = deal(CHANGES, count, rng)
        settings = _deal_settings(count, rng)
        plans += [
            Plan(f"clip-{number:05d}", split, name, seconds, setting, texture, change=change)
            for number, name, setting, texture, change in zip(
                range(len(plans), len(plans) + count), names, settings, textures, changes, strict=True
            )
        ]
    return plans


def plan_full_pieces(pieces: Sequence[Piece], count: int, seconds: tuple[int, int], seed: int) -> list[Plan]:
    """Plans of `count` renderings of `seconds[0]` to `seconds[1]`, in sections; half of them pause."""
    splits = split_pieces(pieces, seed)
    plans: list[Plan] = []
    for split, number in share_out(count).items():
        rng = random.Random(f"{seed} full {split}")
        names = _deal_pieces([piece for piece in pieces if splits[piece.name] == split], number, rng)
        settings = _deal_settings(number, rng)
        changes = deal(CHANGES_OF_FULL_PIECES, number, rng)
        for name, setting, change in zip(names, settings, changes, strict=True):
            length = float(rng.randint(*seconds))
            cut_id = f"full-{len(plans):05d}"
            plans.append(Plan(cut_id, split, name, length, setting, None, _draw_sections(rng), change))
    return plans


def share_out(count: int) -> dict[str, int]:
    """`count` clips over the splits in the proportions of CLIP_SHARES, by largest remainder."""
    exact = {split: count * share for split, share in CLIP_SHARES.items()}
    shares = {split: int(value) for split, value in exact.items()}
    by_remainder = sorted(SPLITS, key=lambda split: shares[split] - exact[split])
    for split in by_remainder[: count - sum(shares.values())]:
        shares[split] += 1
    return shares


def _cell(piece: Piece) -> tuple[str, str, str]:
    return piece.tradition, piece.mode, piece.meter


def _deal_pieces(pieces: Sequence[Piece], count: int, rng: random.Random) -> list[str]:
    """Names of pieces, evenly over mode and meter, and evenly over the pieces of each."""
    strata: dict[tuple[str, str], list[str]] = defaultdict(list)
    for piece in pieces:
        strata[piece.mode, piece.meter].append(piece.name)
    if count and not strata:
        raise UserError(f"expected pieces for each of {', '.join(SPLITS)}, got too few for one; raise `clips`")
    if not count:
        return []
    order = deal(sorted(strata), count, rng)
    decks = {stratum: iter(deal(sorted(names), count, rng)) for stratum, names in sorted(strata.items())}
    return [next(decks[stratum]) for stratum in order]


def _deal_settings(count: int, rng: random.Random) -> list[Setting]:
    columns = zip(
        deal(list(itertools.permutations(PALETTE, 2)), count, rng),
        deal((True, False), count, rng),
        deal(BPM_RANGE, count, rng),
        deal(range(12), count, rng),
        deal((True, False), count, rng),
        strict=True,
    )
    return [Setting(*column, *(rng.random() for _ in range(4))) for column in columns]


def _draw_sections(rng: random.Random) -> tuple[tuple[str, float], ...]:
    """Three to five sections of about equal length, no two neighbours of the same texture."""
    count = rng.randint(_MIN_SECTIONS, _MAX_SECTIONS)
    textures = [rng.choice(TEXTURES)]
    while len(textures) < count:
        textures.append(rng.choice([texture for texture in TEXTURES if texture != textures[-1]]))
    starts = [0.0] + [(index + rng.uniform(-0.25, 0.25)) / count for index in range(1, count)]
    return tuple(zip(textures, starts, strict=True))
