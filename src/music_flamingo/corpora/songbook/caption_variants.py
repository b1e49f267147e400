"""The same song in other words, and each time in words that are false of it in exactly one fact.

AF-CLAP learns from both: variations teach it that wording does not matter, and compositional negatives that order and
attribution do. Nothing is guessed: what is said comes from the song's truth, and what is false contradicts it.

Source: Audio Flamingo 2 (arXiv:2503.03983) section 3.1, which has a language model write them.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, zip_longest
from typing import Any

from music_flamingo.corpora.songbook import vocabulary
from music_flamingo.errors import UserError

WORDINGS: dict[str, tuple[str, ...]] = {
    "instrument": ("the {0} plays", "it is for {0}", "one hears the {0}", "a tune on the {0}"),
    # Neighbours say one thing from either end: with names exchanged, the second has the first one's relation turned.
    "entries": (
        "the {0} enters before the {1}",
        "the {1} enters after the {0}",
        "the {0} comes first and the {1} comes last",
        "the {1} comes last and the {0} comes first",
    ),
    "together": (
        "the {0} and the {1} begin together",
        "at once begin the {0} and the {1}",
        "the {0} begins with the {1}",
        "both the {0} and the {1} begin",
    ),
    "drums": ("it is played {0}", "this is music {0}", "the musicians play {0}", "it comes {0}"),
    "texture": ("the texture is {0}", "it has a {0} texture", "a {0} texture is heard", "the texture heard is {0}"),
    "structure": ("it goes {chain}", "the sections are {chain}", "the form is {chain}", "one hears {chain}"),
    "tempo": ("the tempo is {0}", "it is played at a {0} tempo", "the pace is {0}", "it moves at a {0} pace"),
    "change": ("the music {0}", "on its way it {0}", "further on it {0}", "as it goes on it {0}"),
    "key": ("the key is {0}", "the music is in {0}", "its key is {0}", "it stands in {0}"),
    "meter": ("the meter is {0}", "it is in {0} time", "its time signature is {0}", "it counts {0}"),
}
"""Field -> the ways to say it; a value is said by its own word, or as `_PHRASES` has it."""

WHO_PLAYS = ("instrument", "entries", "together")
"""Of these fields a song has one at most."""

MAX_VARIANTS = min(len(wordings) for wordings in WORDINGS.values())

_PHRASES = {
    "drums": "with drums",
    "no drums": "without drums",
    "louder": "gets louder",
    "softer": "gets softer",
    "pause": "pauses",
}
_VALUES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("instrument", "entries", "together"), vocabulary.INSTRUMENTS),
    "drums": vocabulary.DRUMS,
    # One instrument alone could only be a solo, two never: told from the caption itself, it would teach no listening.
    "texture": tuple(texture for texture in vocabulary.TEXTURES if texture != "solo"),
    "structure": vocabulary.TEXTURES,
    "tempo": vocabulary.TEMPI,
    "change": vocabulary.CHANGES,
    "key": vocabulary.KEYS,
    "meter": vocabulary.METERS,
}
_MEANS_THE_SAME = {"2/4": "4/4", "4/4": "2/4", "3/4": "6/8", "6/8": "3/4"}
"""Meters that a listener may take for one another: neither is false of a song in the other."""

Value = tuple[str, ...]
"""Of a fact: mostly one word, but the instruments in order of entry and the textures of the sections."""

_FalseFacts = dict[str, tuple[list[Value], list[Value]]]
"""Field -> what is false of it: things exchanged, and one thing replaced."""


@dataclass(frozen=True)
class Negative:
    """A caption that is false of its song in one fact.

    Attributes:
        field: which fact, a key of `WORDINGS`.
        value: what it says in place of the truth.
    """

    text: str
    field: str
    value: Value


@dataclass(frozen=True)
class Variant:
    """A true caption, and captions like it that are not."""

    text: str
    negatives: tuple[Negative, ...]


def caption_variants(  # noqa: PLR0913 - one option each
    truth: Mapping[str, Any],
    song: str,
    *,
    num_positives: int = 3,
    num_negatives: int = 3,
    seed: int = 0,
    further_facts: int | None = None,
) -> list[Variant]:
    """True captions that say the same facts in other words, each with its negatives.

    A negative has its caption's wording and order of sentences. Each is false in another field as long as there are
    fields, and where two things of a field can be exchanged that comes first, as only order tells it from the truth.

    Args:
        truth: of the cut, as the Songbook writes it; what it lacks is not said.
        song: id of the cut. The same id and seed give the same captions on any machine.
        num_positives: how many captions, up to 4.
        num_negatives: of each caption.
        seed: another seed chooses otherwise.
        further_facts: what captions say beside who plays, so many facts at most; None says all.

    Raises:
        UserError: more captions or negatives than there are, or a truth without facts.
    """
    rng = random.Random(hashlib.sha256(f"{seed}\0{song}".encode()).digest())
    facts = facts_of(truth) if further_facts is None else _some_of(facts_of(truth), further_facts, rng)
    if not facts:
        raise UserError(f"cut {song}: its truth holds no fact to put into a caption; leave the cut out")
    if not 1 <= num_positives <= MAX_VARIANTS:
        raise UserError(f"num_positives: expected 1 to {MAX_VARIANTS} captions of a song, got {num_positives}")
    false_facts = _false_facts(facts, truth)
    num_false = sum(len(values) for kinds in false_facts.values() for values in kinds)
    if not 0 <= num_negatives <= num_false:
        raise UserError(
            f"num_negatives: expected 0 to {num_false}, what can be false of cut {song}, got {num_negatives}"
        )
    wordings = {field: rng.sample(range(len(WORDINGS[field])), num_positives) for field in facts}
    return [
        _variant(facts, {field: drawn[i] for field, drawn in wordings.items()}, false_facts, num_negatives, rng)
        for i in range(num_positives)
    ]


def facts_of(truth: Mapping[str, Any]) -> dict[str, Value]:
    """What the captions of a song say: field of `WORDINGS` -> value.

    The tempo is a word and no number of beats: of two, a negative could change only one.
    """
    single = {name: truth.get(name) for name in ("texture", "tempo", "change", "meter")}
    if truth.get("drums") is not None:
        single["drums"] = "drums" if truth["drums"] else "no drums"
    if truth.get("tonic") and truth.get("mode"):
        single["key"] = f"{truth['tonic']} {truth['mode']}"
    facts = _who_plays(truth.get("entries") or ())
    facts |= {name: (str(value),) for name, value in single.items() if value not in (None, "none")}
    if truth.get("sections"):
        facts["structure"] = tuple(truth["sections"])
    return facts


def _some_of(facts: Mapping[str, Value], further: int, rng: random.Random) -> dict[str, Value]:
    """Who plays, and so many others."""
    others = [field for field in facts if field not in WHO_PLAYS]
    said = {*WHO_PLAYS, *rng.sample(others, min(further, len(others)))}
    return {field: value for field, value in facts.items() if field in said}


def _who_plays(entries: Sequence[Mapping[str, Any]]) -> dict[str, Value]:
    """Of more than two instruments, those that enter first and last."""
    names = tuple(entry["instrument"] for entry in entries)
    if len(set(names)) < 2:  # noqa: PLR2004
        return {"instrument": names[:1]} if names else {}
    field = "entries" if entries[0]["start"] < entries[-1]["start"] else "together"
    return {field: (names[0], names[-1])}


def _false_facts(facts: Mapping[str, Value], truth: Mapping[str, Any]) -> _FalseFacts:
    playing = {entry["instrument"] for entry in truth.get("entries") or ()}
    return {field: (_exchanged(field, value), _replaced(field, value, playing)) for field, value in facts.items()}


def _exchanged(field: str, value: Value) -> list[Value]:
    """The same things with two of them exchanged; things that begin together have no order."""
    wrong = []
    for i, j in combinations(range(len(value) if field != "together" else 0), 2):
        other = list(value)
        other[i], other[j] = other[j], other[i]
        wrong.append(tuple(other))
    return _credible(wrong, value)


def _replaced(field: str, value: Value, playing: set[str]) -> list[Value]:
    """One of the things replaced by one that the song does not have."""
    if field == "texture" and value == ("solo",):
        return []
    ruled_out = {*value, *playing, *(_MEANS_THE_SAME.get(each, each) for each in value)}
    others = [each for each in _VALUES[field] if each not in ruled_out]
    return _credible([(*value[:i], each, *value[i + 1 :]) for i in range(len(value)) for each in others], value)


def _credible(wrong: Sequence[Value], value: Value) -> list[Value]:
    """Without the truth, repetitions, and sections that are followed by their like, which no song has."""
    differing = [each for each in dict.fromkeys(wrong) if each != value]
    return [each for each in differing if all(a != b for a, b in zip(each, each[1:], strict=False))]


def _variant(
    facts: Mapping[str, Value],
    wording: Mapping[str, int],
    false_facts: _FalseFacts,
    num_negatives: int,
    rng: random.Random,
) -> Variant:
    fields = rng.sample(list(facts), len(facts))
    negatives = []
    for field, value in _in_turn(false_facts, rng)[:num_negatives]:
        wording_of_field = wording[field]
        if field == "entries" and set(value) == set(facts[field]):
            wording_of_field ^= rng.randrange(2)  # its neighbour: names stay in place and "before" becomes "after"
        said = _caption(fields, {**facts, field: value}, {**wording, field: wording_of_field})
        negatives.append(Negative(said, field, value))
    return Variant(_caption(fields, facts, wording), tuple(negatives))


def _in_turn(false_facts: _FalseFacts, rng: random.Random) -> list[tuple[str, Value]]:
    """All (field, false value): one of each field, then a second of each; fields with exchanged things lead."""
    fields = sorted(rng.sample(list(false_facts), len(false_facts)), key=lambda field: not false_facts[field][0])
    queues = [
        [(field, value) for values in false_facts[field] for value in rng.sample(values, len(values))]
        for field in fields
    ]
    return [fact for turn in zip_longest(*queues) for fact in turn if fact is not None]


def _caption(fields: Sequence[str], facts: Mapping[str, Value], wording: Mapping[str, int]) -> str:
    sentences = []
    for field in fields:
        words = [_PHRASES.get(each, each) for each in facts[field]]
        sentences.append(WORDINGS[field][wording[field]].format(*words, chain=" then ".join(words)))
    return " ".join(f"{sentence} ." for sentence in sentences)
