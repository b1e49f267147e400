"""Which scores of music21's corpus can become songbook pieces, read from their headers alone.

music21 takes 20 ms to a second to parse a score; a header takes a tenth of a millisecond. So what a header
already rules out (a mode that is neither major nor minor, a rare meter, a change of meter) is never parsed.

Left out: josquin/, whose pieces are modal or encoded voice by voice as separate tunes.
"""

import importlib.util
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from music_flamingo.errors import UserError

_KEEP_LOCAL = "Generate locally, do not redistribute."
_MUSIC21_TERMS = "as distributed with music21, on the terms of its corpus/license.txt."
LICENCES = {
    "fiddle tune": f"Tune in the public domain; encoding {_MUSIC21_TERMS} {_KEEP_LOCAL}",
    "chorale": f"Music in the public domain; encoding {_MUSIC21_TERMS} {_KEEP_LOCAL}",
    "renaissance": "Music in the public domain; encoding copyright 2000 John Miller, rights to derivative "
    f"electronic formats reserved, {_MUSIC21_TERMS} {_KEEP_LOCAL}",
    "quartet": f"Music in the public domain; encoding {_MUSIC21_TERMS} {_KEEP_LOCAL}",
}
"""By tradition."""

# Notated meter -> (meter as heard, factor on the note values). Cut time is heard in quarters, and the white
# notation of the sixteenth century is halved, as modern editions do.
METERS: dict[str, tuple[str, Fraction]] = {
    "C": ("4/4", Fraction(1)),
    "C|": ("4/4", Fraction(1)),
    "2/2": ("4/4", Fraction(1)),
    "4/2": ("4/4", Fraction(1, 2)),
    "3/2": ("3/4", Fraction(1, 2)),
} | {meter: (meter, Fraction(1)) for meter in ("2/4", "3/4", "4/4", "6/8")}

# What the title, or else the R: field, of a fiddle tune may name.
DANCES = ("reel", "jig", "hornpipe", "strathspey", "waltz", "polka", "march", "clog", "fling")
_DANCE = re.compile(rf"\b({'|'.join(DANCES)})s?\b", re.IGNORECASE)

_QUARTETS = ("beethoven/opus18no1", "haydn/opus1no1", "haydn/opus74no1", "mozart/k155", "mozart/k156",
             "mozart/k458", "mozart/k80", "schumann_robert/opus41no1")  # fmt: skip
# Longer movements cost seconds to parse; an excerpt of ten seconds gains nothing from them.
_MAX_SCORE_BYTES = 21_000

_STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_ABC_KEY = re.compile(r"([A-G])([#b]?)\s*(\S*)")
_KERN_KEY = re.compile(r"\*([A-G])([-#]?):(\w*)")


@dataclass(frozen=True)
class Candidate:
    """A score worth parsing.

    Attributes:
        name: unique within the corpus, such as "ryansMammoth/AcaciaReel" or "airdsAirs/book1#12".
        work: what must not be spread over splits: a mass, a quartet, else the piece itself.
        tune: the text of one tune of an abc book; None for a file that is one score.
        meter: as heard, see METERS.
        scale: factor on the notated values, see METERS.
        tonic: pitch class, C is 0.
        mode: "major" or "minor".
        dance: None where neither title nor R: field names one.
    """

    name: str
    work: str
    tradition: str
    path: Path
    tune: str | None
    title: str
    meter: str
    scale: Fraction
    tonic: int
    mode: str
    dance: str | None


@dataclass(frozen=True)
class Header:
    """What a score says about itself: several meters or keys mean that it changes them."""

    meters: frozenset[str]
    keys: frozenset[tuple[int, str]]
    title: str
    rhythm: str = ""


def corpus_root() -> Path:
    """Folder of the scores that music21 ships.

    Raises:
        UserError: music21 is not installed.
    """
    package = importlib.util.find_spec("music21")
    if package is None or package.origin is None:
        raise UserError("expected the music21 package, whose scores a songbook is made of; `pip install music21`")
    return Path(package.origin).with_name("corpus")


def list_candidates(root: Path, dropped: Counter[str]) -> list[Candidate]:
    """Every score that passes by its header, in a fixed order.

    Args:
        root: `corpus_root()`.
        dropped: counts the others, by reason.
    """
    candidates = []
    for tradition, name, path, tune in _scores(root):
        header = _abc_header(tune) if tune is not None else _file_header(path)
        reason = _unsuitable(header)
        if reason:
            dropped[reason] += 1
            continue
        candidates.append(_candidate(tradition, name, path, tune, header))
    return candidates


def _scores(root: Path) -> Iterator[tuple[str, str, Path, str | None]]:
    """Tradition, name, path and abc text of every score we look at."""
    for folder in ("ryansMammoth", "oneills1850", "airdsAirs"):
        for path in sorted((root / folder).glob("*.abc")):
            yield from _tunes(folder, path)
    for path in sorted((root / "bach").glob("bwv*.mxl")):
        yield "chorale", f"bach/{path.stem}", path, None
    for path in sorted((root / "palestrina").glob("*.krn")):
        yield "renaissance", f"palestrina/{path.stem}", path, None
    for pattern in _QUARTETS:
        for path in sorted(root.glob(f"{pattern}/movement*.mxl")):
            yield "quartet", f"{path.parent.parent.name}/{path.parent.name}/{path.stem}", path, None


def _tunes(folder: str, path: Path) -> Iterator[tuple[str, str, Path, str | None]]:
    """The tunes of an abc book, each from its X: field to the next."""
    text = path.read_text(encoding="utf-8", errors="replace")
    tunes = ["X:" + part for part in re.split(r"(?m)^X:", text)[1:]]
    for number, tune in enumerate(tunes):
        name = f"{folder}/{path.stem}" + (f"#{number + 1}" if len(tunes) > 1 else "")
        yield "fiddle tune", name, path, tune


def _file_header(path: Path) -> Header:
    """Header of a kern or compressed MusicXML file; too large a file has none."""
    if path.stat().st_size > _MAX_SCORE_BYTES:
        return Header(frozenset({"long"}), frozenset(), path.stem)
    return _kern_header(path) if path.suffix == ".krn" else _musicxml_header(path)


def _abc_header(tune: str) -> Header:
    """Fields M:, K:, T: and R: of one tune, in its header or within the music."""
    fields: dict[str, list[str]] = {"M": [], "K": [], "T": [], "R": [], "V": []}
    for letter, value in re.findall(r"(?m)(?:^|\[)([MKTRV]):[ \t]*([^%\]\r\n]*)", tune):
        fields[letter].append(value.strip())
    keys = frozenset(_abc_key(key) for key in fields["K"])
    title = fields["T"][0] if fields["T"] else ""
    # A tune in several voices is one more than a songbook's single line of melody promises.
    meters = frozenset(fields["M"]) if not fields["V"] else frozenset({"voices"})
    return Header(meters, keys, title, fields["R"][0] if fields["R"] else "")


def _abc_key(text: str) -> tuple[int, str]:
    match = _ABC_KEY.match(text)
    if match is None:
        return -1, "unknown"
    step, accidental, mode = match.groups()
    mode = mode.lower()
    if mode in {"", "maj", "major", "ion", "ionian"}:
        mode = "major"
    elif mode in {"m", "min", "minor", "aeo", "aeolian"}:
        mode = "minor"
    return (_STEPS[step] + {"": 0, "#": 1, "b": -1}[accidental]) % 12, mode


def _kern_header(path: Path) -> Header:
    """Tandem interpretations *M4/2 and *F:ion, over all spines."""
    text = path.read_text(encoding="latin-1")
    modes = {"ion": "major", "aeo": "minor"}
    keys = {
        ((_STEPS[step] + {"": 0, "#": 1, "-": -1}[accidental]) % 12, modes.get(mode, mode or "unknown"))
        for step, accidental, mode in _KERN_KEY.findall(text)
    }
    return Header(frozenset(re.findall(r"\*M(\d+/\d+)", text)), frozenset(keys), path.stem)


def _musicxml_header(path: Path) -> Header:
    """Elements <key> and <time>, over all parts and measures."""
    with zipfile.ZipFile(path) as archive:
        member = next(name for name in archive.namelist() if not name.startswith("META-INF"))
        text = archive.read(member).decode("utf-8", errors="replace")
    meters = re.findall(r"<beats>\s*(\d+)\s*</beats>\s*<beat-type>\s*(\d+)\s*</beat-type>", text)
    keys = set()
    for key in re.findall(r"<key\b.*?</key>", text, re.DOTALL):
        fifths = re.search(r"<fifths>\s*(-?\d+)", key)
        mode = re.search(r"<mode>\s*(\w+)", key)
        name = mode.group(1) if mode else "unknown"
        keys.add(((int(fifths.group(1)) * 7 + (9 if name == "minor" else 0)) % 12 if fifths else -1, name))
    return Header(frozenset(f"{beats}/{unit}" for beats, unit in meters), frozenset(keys), path.stem)


def _unsuitable(header: Header) -> str | None:
    """Why a score cannot be used, or None."""
    if header.meters == {"long"}:
        return "long score"
    if header.meters == {"voices"}:
        return "tune in several voices"
    if len({METERS.get(meter, (meter, 1)) for meter in header.meters}) != 1:
        return "meter changes" if header.meters else "no meter"
    if not header.meters <= METERS.keys():
        return "rare meter"
    if len(header.keys) != 1:
        return "key changes" if header.keys else "no key"
    return None if {mode for _, mode in header.keys} <= {"major", "minor"} else "mode neither major nor minor"


def _candidate(tradition: str, name: str, path: Path, tune: str | None, header: Header) -> Candidate:
    meter, scale = METERS[min(header.meters)]
    ((tonic, mode),) = header.keys
    dance = None
    if tradition == "fiddle tune":
        dance = _named_dance(header.title) or _named_dance(header.rhythm) or _named_dance(path.stem)
    return Candidate(
        name, _work(tradition, name), tradition, path, tune, header.title, meter, scale, tonic, mode, dance
    )


def _work(tradition: str, name: str) -> str:
    """A mass is known by the number in its movements' file names, a quartet by its folder."""
    if tradition == "quartet":
        return name.rpartition("/")[0]
    number = re.search(r"\d+", name) if tradition == "renaissance" else None
    return f"palestrina/{number.group()}" if number else name


def _named_dance(text: str) -> str | None:
    """First of DANCES that occurs as a word, also at the end of one ("AcaciaReel")."""
    match = _DANCE.search(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text))
    return match.group(1).lower() if match else None
