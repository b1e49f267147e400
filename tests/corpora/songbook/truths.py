"""Hand-written truths of three cuts: a duet that gets louder, a bare solo, a full piece."""

from typing import Any


def duet(**changes: Any) -> dict[str, Any]:
    return {
        "instruments": ["flute", "violin"],
        "first_instrument": "flute",
        "last_instrument": "violin",
        "entries": [{"instrument": "flute", "start": 0.0}, {"instrument": "violin", "start": 3.9}],
        "last_entry": 3.9,
        "drums": True,
        "texture": "duet",
        "bpm": 126,
        "tempo": "fast",
        "meter": "4/4",
        "tonic": "G",
        "mode": "major",
        "change": "louder",
        "change_time": 5.1,
        "chord": {"start": 2.4, "name": "C major"},
        "sections": None,
        "section_starts": None,
        "dance": "reel",
    } | changes


def solo(**changes: Any) -> dict[str, Any]:
    return (
        duet(
            instruments=["oboe"],
            first_instrument="oboe",
            last_instrument="oboe",
            entries=[{"instrument": "oboe", "start": 0.0}],
            last_entry=0.0,
            drums=False,
            texture="solo",
            bpm=72,
            tempo="slow",
            meter="3/4",
            tonic="Bb",
            mode="minor",
            change="none",
            change_time=None,
            chord=None,
            dance=None,
        )
        | changes
    )


def full_piece(**changes: Any) -> dict[str, Any]:
    return (
        duet(
            texture=None,
            chord=None,
            dance=None,
            sections=["solo", "full", "duet"],
            section_starts=[0.0, 12.5, 30.0],
        )
        | changes
    )
