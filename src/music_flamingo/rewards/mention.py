"""Which values a caption states: whole words of a closed list, tempi, keys and meters."""

import re
from collections.abc import Iterable
from functools import lru_cache

from music_flamingo.rewards.answer import read_key

_NUMBER = r"\d{1,4}(?:\.\d{1,3})?"
_BPM = re.compile(
    rf"(?<![\d./])(?P<before>(?:{_NUMBER} ?(?:bpm )?(?:-|to|and|or) ?){{0,3}}{_NUMBER})"
    r" ?(?:bpm|beats per minute)\b"
    rf"|\b(?:bpm|tempo)(?: of| is| at| around| about| ?:| ?=){{0,3}} (?P<after>{_NUMBER})"
    r"(?![\d/]|\.\d| ?s(?:ec|\b))"
)
_METER = re.compile(r"(?<![\d/.])(\d{1,2})/(1|2|4|8|16|32)(?![\d/])")
_KEY = re.compile(
    r"(?<![\w#])[a-g](?:##|bb|#|b)?[ -](?:major|minor)\b(?! (?:chord|triad|seventh|third|sixth|scale)s?\b)"
)
# "a minor detail" is no key: the letter "a" needs the end of a phrase, or a word that leads to or from a key.
_LEADS_TO_KEY = ("in ", "of ", "key ", ": ")
_PHRASE_GOES_ON = re.compile(r" (?!(?:with|and|at|in|or|to|key|tonality)\b)\w")
_NEGATED = re.compile(
    r"\b(?:no|not|without|never|neither|nor|isn't|lacks|lacking)(?: (?:a|an|the|any|in|at|about|around))? \Z"
)


def word_pattern(values: Iterable[str]) -> re.Pattern[str] | None:
    """Expression that finds any of the values as whole words, singular or plural, longer ones first.

    Args:
        values: normalised words or phrases.

    Returns:
        the expression for normalised or folded text; None when there are no values.
    """
    stems = _values_by_stem(tuple(values))
    return _stem_pattern(tuple(stems)) if stems else None


def mentioned_words(pattern: re.Pattern[str], text: str, values: Iterable[str]) -> list[str]:
    """Values in the order the text states them, once per mention; "no drums" does not state drums.

    Args:
        pattern: `word_pattern(values)`.
        text: folded text.
        values: the normalised values.
    """
    by_stem = _values_by_stem(tuple(values))
    return [by_stem[match[1]] for match in pattern.finditer(text) if not _is_negated(text, match.start())]


def mentioned_tempi(text: str) -> set[float]:
    """All tempi that a folded text states, beats per minute; a range states its ends, "not 96 BPM" nothing.

    Args:
        text: folded text.
    """
    matches = (match for match in _BPM.finditer(text) if not _is_negated(text, match.start()))
    spans = [match["before"] or match["after"] for match in matches]
    return {float(number) for span in spans for number in re.findall(_NUMBER, span)}


def mentioned_meters(text: str) -> set[tuple[int, int]]:
    """All time signatures that a folded text states.

    Args:
        text: folded text.
    """
    matches = (match for match in _METER.finditer(text) if not _is_negated(text, match.start()))
    return {(int(match[1]), int(match[2])) for match in matches}


def mentioned_keys(text: str) -> set[tuple[int, str]]:
    """All keys that a folded text states, as pitch class and mode; chords and scales are no keys.

    Args:
        text: folded text.
    """
    matches = (match for match in _KEY.finditer(text) if _is_key(match, text))
    keys = (read_key(match[0].replace("-", " ")) for match in matches)
    return {key for key in keys if key is not None}


def _is_key(match: re.Match[str], text: str) -> bool:
    if _is_negated(text, match.start()):
        return False
    if not match[0].startswith(("a ", "a-")) or text.endswith(_LEADS_TO_KEY, 0, match.start()):
        return True
    return _PHRASE_GOES_ON.match(text, match.end()) is None


def _is_negated(text: str, start: int) -> bool:
    return _NEGATED.search(text, max(0, start - 20), start) is not None


# Rewards ask about the same closed lists for every completion.
@lru_cache(maxsize=256)
def _values_by_stem(values: tuple[str, ...]) -> dict[str, str]:
    return {_stem(value): value for value in values if value}


@lru_cache(maxsize=256)
def _stem_pattern(stems: tuple[str, ...]) -> re.Pattern[str]:
    alternatives = "|".join(re.escape(stem) for stem in sorted(stems, key=lambda stem: (-len(stem), stem)))
    return re.compile(rf"(?<![\w#])({alternatives})s?(?![\w#])")


def _stem(value: str) -> str:
    return value[:-1] if value.endswith("s") and not value.endswith("ss") else value
