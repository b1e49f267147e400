"""What can be heard in a cut, noted as a listener would: who plays, what holds throughout, what changes.

An observation is {"field": ..., "value": ..., "start": seconds from the start of the cut, or None where it
holds throughout}. The order is the same in every cut: entries, texture, drums, tempo, change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from music_flamingo.corpora.songbook.vocabulary import STEADY


def observe(truth: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The observations that the score supports.

    Left out: last_instrument where only one instrument enters, texture and steady where the texture is not the same
    throughout (full pieces). "steady" is noted where nothing changes: were it left out, saying nothing about changes
    would be saying that there are none.
    """
    observations = _entries(truth)
    if truth["texture"] is not None:
        observations.append(_observation("texture", truth["texture"]))
    observations.append(_observation("drums", "drums" if truth["drums"] else "no drums"))
    observations.append(_observation("tempo", truth["tempo"]))
    if truth["change"] != "none":
        observations.append(_observation("change", truth["change"], truth["change_time"]))
    elif truth["texture"] is not None:
        observations.append(_observation("steady", STEADY))
    return observations


def _entries(truth: Mapping[str, Any]) -> list[dict[str, Any]]:
    entries = truth["entries"]
    noted = [_observation("first_instrument", entries[0]["instrument"], entries[0]["start"])]
    if len(entries) > 1:
        noted.append(_observation("last_instrument", entries[-1]["instrument"], entries[-1]["start"]))
    return noted


def _observation(field: str, value: str, start: float | None = None) -> dict[str, Any]:
    return {"field": field, "value": value, "start": start}
