"""One spelling for answers that mean the same: Unicode forms, sharps, flats, dashes, articles, maj, min."""

import re
import unicodedata

_SYMBOLS = str.maketrans(
    {
        "♯": "#",
        "＃": "#",
        "♭": "b",
        "♮": "",
        "⁄": "/",
        "∕": "/",
        "’": "'",
        "‘": "'",
        **dict.fromkeys("‐‑‒–—―−﹣－", "-"),
    }
)
_MODES = "major|minor|ionian|dorian|phrygian|lydian|mixolydian|aeolian|locrian"
_SPELLED_ACCIDENTAL = re.compile(r"\b([a-g])[ -](sharp|flat)\b")
_MAJOR = re.compile(r"\bmaj\b")
_MINOR = re.compile(r"\bmin\b")
_SLASH = re.compile(r" ?/ ?")
# "A" is an article before a word, not before a mode ("A minor") or a lone letter ("A B A").
_ARTICLE = re.compile(rf"^(?:the (?=\S)|an? (?!(?:{_MODES}|sharp|flat|natural|chord)\b)(?=\w{{3}}))+")
_NOT_A_WORD = re.compile(r"(?<!\d)\.|\.(?!\d)|[^\w#/. ]|_")

_ACCIDENTALS = {"#": "#", "sharp": "#", "flat": "b"}


def fold(text: str) -> str:
    """Lower case, one Unicode form and one spelling of musical symbols; punctuation stays.

    Args:
        text: any text; the cost is linear in its length, though NFKC can make it up to 18 times as long.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(_SYMBOLS)).translate(_SYMBOLS)
    folded = " ".join(text.casefold().replace("&", " and ").split())
    folded = _SPELLED_ACCIDENTAL.sub(lambda match: match[1] + _ACCIDENTALS[match[2]], folded)
    folded = _MINOR.sub("minor", _MAJOR.sub("major", folded))
    return _SLASH.sub("/", folded)


def normalise_text(text: str) -> str:
    """The words of an answer in their common spelling, without punctuation and a leading article.

    "The  C♯ maj." gives "c# major", "Hip-Hop" gives "hip hop", "3 / 4" gives "3/4". Idempotent.

    Args:
        text: any text.

    Returns:
        words separated by single spaces; empty when the text holds none.
    """
    words = _NOT_A_WORD.sub(" ", fold(text).replace("'", ""))
    words = _SLASH.sub("/", " ".join(words.split()))
    words = _SPELLED_ACCIDENTAL.sub(lambda match: match[1] + _ACCIDENTALS[match[2]], words)
    return _ARTICLE.sub("", _MINOR.sub("minor", _MAJOR.sub("major", words)))
