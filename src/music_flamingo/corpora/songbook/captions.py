"""Metadata and captions of a cut, from its score.

Captions cover the paper's aspects where a score knows them: low-level information (tempo, key, meter),
instrumentation, structure and dynamics, theory (texture, chord), context (tradition or dance). Never lyrics.
Facts (field -> value) come first and words after, so that noise can act on what is said and not on how.

Source: Music Flamingo, section 2 and appendix (aspects of MF-Skills captions; the eleven metadata fields).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from music_flamingo.corpora.songbook.vocabulary import DANCES, TRADITIONS, chord_symbol, texture_phrase
from music_flamingo.errors import UserError

_CHANGE_SENTENCES = {"louder": "it gets louder", "softer": "it gets softer", "pause": "there is a pause"}
_OPENINGS = {"music": "music", "renaissance": "renaissance music"}


def genre(truth: Mapping[str, Any], tradition: str) -> str:
    """The dance where the piece is one, else the tradition.

    Raises:
        UserError: a name that is not in the vocabulary, as captions could not be scored on it.
    """
    name = str(truth["dance"] or tradition)
    known = DANCES if truth["dance"] else TRADITIONS
    if name not in known:
        field = "dance" if truth["dance"] else "tradition"
        raise UserError(
            f"{field}: expected one of {', '.join(known)}, got {name!r}; add it to corpora/songbook/vocabulary.py"
        )
    return name


def metadata(truth: Mapping[str, Any], tradition: str) -> dict[str, str]:
    """The paper's metadata fields that a score can fill; the others are absent.

    Values of instruments and structure are separated by commas, those of theory by semicolons.
    """
    facts = caption_facts(truth, tradition)
    fields = {name: facts[name] for name in ("genre", "bpm", "key", "meter")}
    if "structure" in facts:
        fields["structure"] = facts["structure"]
    drums = ["drums"] if truth["drums"] else []
    fields["instruments"] = ", ".join([*truth["instruments"], *drums])
    theory = _theory(facts)
    if theory:
        fields["theory"] = "; ".join(theory)
    if "change" in facts:
        fields["dynamics"] = facts["change"]
    return fields


def caption_facts(truth: Mapping[str, Any], tradition: str) -> dict[str, str]:
    """What the caption says, as field -> value.

    Always genre, instruments, drums, tempo, bpm, key, meter; where known texture, structure, chord, change.
    """
    facts = {
        "genre": genre(truth, tradition),
        "instruments": ", ".join(truth["instruments"]),
        "drums": "drums" if truth["drums"] else "no drums",
        "tempo": truth["tempo"],
        "bpm": str(truth["bpm"]),
        "key": f"{truth['tonic']} {truth['mode']}",
        "meter": truth["meter"],
    }
    if truth["texture"] is not None:
        facts["texture"] = truth["texture"]
    if truth["sections"] is not None:
        facts["structure"] = ", ".join(truth["sections"])
    if truth["chord"] is not None:
        facts["chord"] = truth["chord"]["name"]
    if truth["change"] != "none":
        facts["change"] = truth["change"]
    return facts


def render_caption(facts: Mapping[str, str]) -> str:
    """The caption: tokens separated by single spaces, lower case but for keys, chords and "BPM".

    Any fact may be absent. Silence stands for "no drums": a search for "drums" finds only those that play.
    """
    sentences = [_opening(facts)]
    if "texture" in facts:
        sentences.append(texture_phrase(facts["texture"]))
    if "structure" in facts:
        sentences.append(facts["structure"].replace(", ", " then "))
    tempo = [facts["tempo"]] if "tempo" in facts else []
    bpm = [f"{facts['bpm']} BPM"] if "bpm" in facts else []
    sentences.append(" , ".join(tempo + bpm))
    sentences.append(" , ".join(facts[name] for name in ("key", "meter") if name in facts))
    if "chord" in facts:
        sentences.append(chord_symbol(facts["chord"]))
    if "change" in facts:
        sentences.append(_CHANGE_SENTENCES[facts["change"]])
    return " ".join(f"{sentence} ." for sentence in sentences if sentence)


def caption_text(truth: Mapping[str, Any], tradition: str) -> str:
    """The clean caption, such as "a reel for flute , with drums . solo texture . fast , 126 BPM . ..."."""
    return render_caption(caption_facts(truth, tradition))


def _opening(facts: Mapping[str, str]) -> str:
    name = facts.get("genre", "music")
    opening = _OPENINGS.get(name, f"a {name}")
    if "instruments" in facts:
        opening += " for " + facts["instruments"].replace(", ", " and ")
    if facts.get("drums") == "drums":
        opening += " , with drums"
    return opening


def _theory(facts: Mapping[str, str]) -> list[str]:
    texture = [texture_phrase(facts["texture"])] if "texture" in facts else []
    chord = [chord_symbol(facts["chord"])] if "chord" in facts else []
    return texture + chord
