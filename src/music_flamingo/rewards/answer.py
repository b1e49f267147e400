"""Values that an answer can state: a key, a tempo, a meter, a number, a time, a list.

Each reader takes the *whole* answer or nothing: an answer that also says something else (a second value, a
"not", a "maybe") is not read, so that neither hedging nor listing several values can be right.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping

from music_flamingo.rewards.normalise import fold, normalise_text

_NUMBER = r"\d{1,7}(?:\.\d{1,6})?"
_ABOUT = r"(?:(?:about|around|approximately|approx|roughly|circa|ca|at|after)\.? |~ ?)?"

_LEAD_IN = re.compile(
    r"^(?:(?:hence|so|therefore|thus) ?,? )?"
    r"(?:(?:the |my )?(?:(?:correct|final|right|best) )?"
    r"(?:answer|option|choice|key|tempo|meter|time signature|instruments?|tonic|mode|chord|change)"
    r" ?(?:(?:is|are) ?:?|:|=)"
    r"|it(?:'s| is|s)|this is|there(?:'s| is| are)) *"
)
_KEY = re.compile(
    r"(?:in )?(?:the )?(?:key of )?(?P<note>[a-g])(?P<accidental>##|bb|#|b)? ?"
    r"(?P<mode>m|major|minor|ionian|dorian|phrygian|lydian|mixolydian|aeolian|locrian)?"
    r"(?: key| scale| chord)?"
)
_BPM = re.compile(rf"{_ABOUT}(?P<number>{_NUMBER}) ?(?:bpm|b\.p\.m|beats per minute)?")
_METER = re.compile(r"(?:in )?(?P<beats>\d{1,3})/(?P<unit>\d{1,3})(?: time| meter| metre)?")
_SECONDS = re.compile(rf"{_ABOUT}(?P<number>{_NUMBER}) ?(?:s|sec|secs|second|seconds)?")
_CLOCK = re.compile(rf"{_ABOUT}(?P<minutes>\d{{1,4}}) ?: ?(?P<seconds>[0-5]\d(?:\.\d{{1,6}})?)")
_PLAIN_NUMBER = re.compile(rf"-?{_NUMBER}")
_ITEM_BORDER = re.compile(r",? and |[,;\n]")

_PITCH_CLASSES = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
_ACCIDENTALS = {"": 0, "#": 1, "##": 2, "b": -1, "bb": -2}
_NUMBER_WORDS = {
    word: float(value)
    for value, word in enumerate(
        (
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
        )
    )
}


def strip_lead_in(text: str) -> str:
    """The answer without a phrase such as "The correct answer is:" and without closing punctuation.

    Args:
        text: an answer.

    Returns:
        folded text (`normalise.fold`), possibly empty.
    """
    folded = fold(text).strip(" .!\"'`*")
    return _LEAD_IN.sub("", folded, count=1).strip(" .!:\"'`*")


def read_key(text: str) -> tuple[int, str] | None:
    """Pitch class 0..11 (C is 0) and mode ("" when not said) of a text that is one key or chord, else None.

    Args:
        text: an answer; "Gm", "g minor" and "the key of G min." read alike, C# and Db too.
    """
    match = _KEY.fullmatch(strip_lead_in(text))
    if match is None:
        return None
    mode = match["mode"] or ""
    pitch_class = _PITCH_CLASSES[match["note"]] + _ACCIDENTALS[match["accidental"] or ""]
    return pitch_class % 12, "minor" if mode == "m" else mode


def read_bpm(text: str) -> float | None:
    """Beats per minute of a text that is one tempo, else None; "1250 BPM" is 1250, a range is nothing.

    Args:
        text: an answer.
    """
    return _matched_number(_BPM, text)


def read_meter(text: str) -> tuple[int, int] | None:
    """Both numbers of a text that is one time signature, else None; 6/8 and 3/4 stay different.

    Args:
        text: an answer.
    """
    match = _METER.fullmatch(strip_lead_in(text))
    return (int(match["beats"]), int(match["unit"])) if match else None


def read_number(text: str) -> float | None:
    """Value of a text that is one number, in digits or (up to twelve) as a word, else None.

    Args:
        text: an answer.
    """
    stripped = strip_lead_in(text)
    if stripped in _NUMBER_WORDS:
        return _NUMBER_WORDS[stripped]
    return float(stripped) if _PLAIN_NUMBER.fullmatch(stripped) else None


def read_seconds(text: str) -> float | None:
    """Seconds of a text that is one time ("4 s", "at 4.0 seconds", "0:04"), else None.

    Args:
        text: an answer.
    """
    clock = _CLOCK.fullmatch(strip_lead_in(text))
    if clock is not None:
        return 60 * int(clock["minutes"]) + float(clock["seconds"])
    return _matched_number(_SECONDS, text)


def read_list(text: str) -> Counter[str] | None:
    """How often each item is said in a text of items separated by commas, semicolons or "and"; None if empty.

    Args:
        text: an answer.
    """
    items = Counter(normalise_text(item) for item in _ITEM_BORDER.split(strip_lead_in(text)))
    items.pop("", None)
    return items or None


def _matched_number(pattern: re.Pattern[str], text: str) -> float | None:
    match = pattern.fullmatch(strip_lead_in(text))
    return float(match["number"]) if match else None


READERS: Mapping[str, Callable[[str], object | None]] = {
    "bpm": read_bpm,
    "key": read_key,
    "meter": read_meter,
    "number": read_number,
    "seconds": read_seconds,
    "list": read_list,
}
"""Answer type -> reader. "text" has none: it is compared as text alone."""
