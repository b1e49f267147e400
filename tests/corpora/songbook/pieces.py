"""Small pieces written by hand, and plans to play them."""

from typing import Any

from music_flamingo.corpora.songbook.schedule import Plan, Setting
from music_flamingo.corpora.songbook.scores import Note, Piece

SCALE = (67, 69, 71, 72, 74, 76, 78, 79)


def line(pitches: tuple[int, ...], length: float = 1.0, bars: int = 8, bar_quarters: float = 4.0) -> tuple[Note, ...]:
    """Notes of equal length without a rest, the pitches over and over."""
    count = int(bars * bar_quarters / length)
    return tuple((index * length, length, pitches[index % len(pitches)]) for index in range(count))


def piece(*parts: tuple[Note, ...], **changes: Any) -> Piece:
    """G major in 4/4, eight bars, by default a tune of quarters up the scale."""
    fields: dict[str, Any] = {
        "name": "folder/tune",
        "work": "folder/tune",
        "tradition": "fiddle tune",
        "title": "Tune",
        "meter": "4/4",
        "mode": "major",
        "dance": None,
        "tonic": 7,
        "parts": parts or (line(SCALE),),
        "bars": 8,
        "bar_quarters": 4.0,
    }
    return Piece(**(fields | changes))


def chorale(**changes: Any) -> Piece:
    """Four parts in quarters: G major and D major chords in turn."""
    parts = (line((79, 78)), line((74, 74)), line((71, 69)), line((55, 50)))
    return piece(*parts, **({"tradition": "chorale"} | changes))


def setting(**changes: Any) -> Setting:
    fields: dict[str, Any] = {
        "instruments": ("flute", "violin"),
        "drums": False,
        "bpm": 60,
        "tonic": 7,
        "is_upper_first": True,
        "start": 0.0,
        "entry": 0.0,
        "change_at": 0.0,
        "chord": 0.0,
    }
    return Setting(**(fields | changes))


def clip(texture: str = "solo", change: str = "none", **changes: Any) -> Plan:
    """Ten seconds at 60 quarters a minute, so that a second is a quarter."""
    return Plan("clip-00000", "train", "folder/tune", 10.0, setting(**changes), texture, change=change)


def catalogue_of_pieces() -> list[Piece]:
    """Ten tunes and two chorales in each mode and meter, of which every one has its own key and opening."""
    pieces = []
    for mode in ("major", "minor"):
        for meter, bar in (("2/4", 2.0), ("3/4", 3.0), ("4/4", 4.0), ("6/8", 3.0)):
            for number in range(10):
                name = f"tunes/{mode}-{meter.replace('/', '')}-{number}"
                tune = line(SCALE[number % 4 :], 0.5, 8, bar)
                pieces.append(piece(tune, name=name, work=name, mode=mode, meter=meter, bar_quarters=bar, tonic=number))
            for number in range(2):
                name = f"bach/{mode}-{meter.replace('/', '')}-{number}"
                parts = tuple(line(pitches, 1.0, 8, bar) for pitches in ((79, 78), (74, 74), (71, 69), (55, 50)))
                pieces.append(
                    piece(
                        *parts,
                        name=name,
                        work=name,
                        mode=mode,
                        meter=meter,
                        bar_quarters=bar,
                        tradition="chorale",
                    )
                )
    return pieces
