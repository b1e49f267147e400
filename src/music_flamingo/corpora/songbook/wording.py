"""How the Songbook asks: two wordings for each question, and how a claim is put for a yes or a no."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field

CAPTION_PROMPTS = ("Describe the music.", "Write a caption for this music.", "What do you hear?")


@dataclass(frozen=True)
class Wording:
    """One question.

    Args:
        asks: wordings of the open question; `{at}` is a time in seconds where the question needs one.
        claims: wordings of the binary question; `{value}` is the claimed value, or its phrase.
        field: the field of truth or observations the answer follows from.
        answer_type: how an answer is compared with the truth.
        num_options: options of the multiple choice at most; 0 where there are too few values for one.
        phrases: how a value is said in a claim, where not by its own word.
    """

    asks: tuple[str, ...]
    claims: tuple[str, ...]
    field: str
    answer_type: str = "text"
    num_options: int = 4
    phrases: Mapping[str, str] = dataclass_field(default_factory=dict)


WORDINGS: dict[str, Wording] = {
    "instrument": Wording(
        ("Which instrument enters first?", "Which instrument begins?"),
        ("Does the {value} enter first?", "Does the {value} begin?"),
        "first_instrument",
    ),
    "last_instrument": Wording(
        ("Which instrument enters last?", "Which instrument joins last?"),
        ("Does the {value} enter last?", "Does the {value} join last?"),
        "last_instrument",
    ),
    "instruments": Wording(
        ("Which instruments play, besides any drums?", "Name the instruments, without drums."),
        ("Are the instruments, besides any drums, {value}?", "Without drums, do you hear {value}?"),
        "instruments",
        "list",
    ),
    "entry_time": Wording(
        (
            "At what second does the last instrument enter?",
            "When, in seconds, does the last instrument join?",
        ),
        (
            "Does the last instrument enter near second {value}?",
            "Does the last instrument join near {value} s?",
        ),
        "entry_time",
        "seconds",
        num_options=3,
    ),
    "drums": Wording(
        ("Are there drums?", "Do drums play?"),
        ("Is it played {value}?", "Is this music {value}?"),
        "drums",
        num_options=0,
        phrases={"drums": "with drums", "no drums": "without drums"},
    ),
    "texture": Wording(
        ("What is the texture?", "Is the texture solo, duet or full?"),
        ("Is it a {value} texture?", "Do you hear a {value} texture?"),
        "texture",
    ),
    "tempo": Wording(
        ("How fast is the tempo?", "Is the tempo slow, moderate or fast?"),
        ("Is the tempo {value}?", "Is it played at a {value} tempo?"),
        "tempo",
    ),
    "bpm": Wording(
        ("How many beats per minute?", "What is the tempo in BPM?"),
        ("Is the tempo near {value} BPM?", "Are there about {value} beats per minute?"),
        "bpm",
        "bpm",
    ),
    "meter": Wording(
        ("What is the meter?", "Which time signature is it?"),
        ("Is the meter {value}?", "Is the time signature {value}?"),
        "meter",
        "meter",
    ),
    "tonic": Wording(
        ("What is the tonic?", "On which tonic does the music rest?"),
        ("Is the tonic {value}?", "Does the music rest on {value}?"),
        "tonic",
    ),
    "mode": Wording(
        ("Is the mode major or minor?", "What is the mode?"),
        ("Is the mode {value}?", "Is the music in a {value} key?"),
        "mode",
        num_options=0,
    ),
    "key": Wording(
        ("What is the key?", "In which key is the music?"),
        ("Is the key {value}?", "Is the music in {value}?"),
        "key",
        "key",
    ),
    "change": Wording(
        (
            "What changes: louder, softer, pause or none?",
            "Which change do you hear: louder, softer, pause or none?",
        ),
        ("Does the music {value}?", "As it goes on, does it {value}?"),
        "change",
        phrases={"louder": "get louder", "softer": "get softer", "pause": "pause", "none": "go on unchanged"},
    ),
    "change_time": Wording(
        ("At what second does the change come?", "When, in seconds, does the music change?"),
        ("Does the change come near second {value}?", "Does the music change near {value} s?"),
        "change_time",
        "seconds",
        num_options=3,
    ),
    "chord": Wording(
        ("Which chord sounds at {at} s?", "What is the chord at {at} s?"),
        ("Is the chord at {at} s {value}?", "Does {value} sound at {at} s?"),
        "chord",
    ),
    "sections": Wording(
        ("In which order do the textures come?", "What are the sections, by texture?"),
        ("Do the textures come as {value}?", "Are the sections {value}?"),
        "sections",
    ),
    "dance": Wording(
        ("Which dance is it?", "What kind of dance tune is this?"),
        ("Is the dance a {value}?", "Is this dance tune a {value}?"),
        "dance",
    ),
}
