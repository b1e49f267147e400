"""What the Songbook's words can say: closed value lists, and the sentences of a chain of thought.

Written beside the cuts as `vocabulary.json`, so that rewards can read chains and captions without importing
this package. Its two parts:

fields  closed lists of the values a metadata field can hold; "texture" and "tempo" are observation fields
        that captions name too. "bpm" is missing because it is a number.
steps   one template for each observation field. A chain is a run of steps, each followed by " ." and
        separated by a space. A step belongs to exactly one template when *all* of it matches: `{value}` is
        one of `values`, which are the observation's own words, and `{seconds}` a whole number without sign,
        rounded half up.
"""

from __future__ import annotations

from typing import Any

INSTRUMENTS = ("piano", "organ", "guitar", "violin", "trumpet", "oboe", "flute", "marimba")
DRUMS = ("drums", "no drums")
TEXTURES = ("solo", "duet", "full")
# 31 % slow, 38 % moderate, 31 % fast, a third and more apart: at a border slow and moderate would be a matter of taste.
BPM_RANGE = (*range(46, 66), *range(90, 114), *range(150, 170))
TEMPI = ("slow", "moderate", "fast")
CHANGES = ("louder", "softer", "pause")
STEADY = "no change"
TONICS = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
MODES = ("major", "minor")
KEYS = tuple(f"{tonic} {mode}" for mode in MODES for tonic in TONICS)
METERS = ("2/4", "3/4", "4/4", "6/8")
TRADITIONS = ("fiddle tune", "chorale", "renaissance", "quartet")
DANCES = ("reel", "jig", "hornpipe", "strathspey", "waltz", "polka", "march", "clog", "fling")

STEP_TEMPLATES: dict[str, tuple[str, tuple[str, ...]]] = {
    "first_instrument": ("at {seconds} s the {value} begins", INSTRUMENTS),
    "last_instrument": ("at {seconds} s the {value} joins last", INSTRUMENTS),
    "texture": ("{value} texture", TEXTURES),
    "drums": ("with {value}", DRUMS),
    "tempo": ("{value} tempo", TEMPI),
    "change": ("at {seconds} s {value}", CHANGES),
    "steady": ("{value}", (STEADY,)),
}


def chord_symbol(chord: str) -> str:
    """The chord in a form that cannot be mistaken for the key: "C major" is "Cmaj chord"."""
    tonic, mode = chord.split()
    return f"{tonic}{mode[:3]} chord"


def texture_phrase(texture: str) -> str:
    """The words captions, chains and the theory field share for a texture, such as "duet texture"."""
    return STEP_TEMPLATES["texture"][0].format(value=texture)


def songbook_vocabulary() -> dict[str, Any]:
    """The content of `vocabulary.json`: lists, dicts and strings only, new at every call."""
    theory = [texture_phrase(texture) for texture in TEXTURES] + [chord_symbol(key) for key in KEYS]
    return {
        "fields": {
            "genre": [*TRADITIONS, *DANCES],
            "key": list(KEYS),
            "meter": list(METERS),
            "structure": list(TEXTURES),
            "instruments": [*INSTRUMENTS, "drums"],
            "theory": theory,
            "dynamics": list(CHANGES),
            "texture": list(TEXTURES),
            "tempo": list(TEMPI),
        },
        "steps": {
            field: {"template": template, "values": list(values)}
            for field, (template, values) in STEP_TEMPLATES.items()
        },
    }
