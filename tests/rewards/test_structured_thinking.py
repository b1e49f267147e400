import random
import time

import pytest

from music_flamingo.errors import UserError
from music_flamingo.rewards import Reference, StructuredThinkingReward

INSTRUMENTS = ["piano", "organ", "guitar", "violin", "trumpet", "oboe", "flute", "marimba", "drums"]
VOCABULARY = {
    "fields": {
        "genre": ["fiddle tune", "chorale", "reel", "jig"],
        "instruments": INSTRUMENTS,
        "structure": ["solo", "duet", "full"],
        "dynamics": ["louder", "softer", "pause"],
    }
}
METADATA = {
    "genre": "reel",
    "bpm": "126",
    "key": "G minor",
    "meter": "4/4",
    "instruments": "flute, violin, drums",
    "dynamics": "louder",
}
FAITHFUL = "a reel for flute and violin , with drums . fast , 126 BPM . G minor , 4/4 . it gets louder ."


def score(caption: str, metadata: dict[str, str], **settings) -> float | None:
    completion = f"<think>x</think><answer>{caption}</answer>"
    reference = Reference("caption", "Describe it.", "some caption", metadata=metadata)
    return StructuredThinkingReward(VOCABULARY, **settings)(completion, reference)


def test_a_faithful_caption_earns_everything() -> None:
    assert score(FAITHFUL, METADATA) == 1.0


def test_a_keyword_dump_earns_little() -> None:
    keys = [f"{note} {mode}" for note in "ABCDEFG" for mode in ("major", "minor")]
    values = [value for field in VOCABULARY["fields"].values() for value in field]
    tempi = [f"{bpm} bpm" for bpm in range(60, 200)]
    dump = " , ".join([*values, *keys, *tempi, "2/4", "3/4", "4/4", "6/8"])
    # Of six fields only the lists earn: instruments 2*3/(9+3) = 1/2, dynamics 2*1/(3+1) = 1/2.
    assert score(dump, METADATA) == pytest.approx((1 / 2 + 1 / 2) / 6)
    assert score(dump, METADATA) <= 0.35


def test_the_papers_wording_pays_the_dump_like_the_faithful_caption() -> None:
    metadata = {"bpm": "126", "key": "G minor", "instruments": "flute, violin"}
    # Words found: 126, g, minor, flute, violin; three fields.
    assert score("126 BPM, G minor, flute, violin", metadata, mode="paper") == pytest.approx(5 / 3)
    dump = "60 61 126 1260 a b c d e f g major minor flute violin oboe"
    assert score(dump, metadata, mode="paper") == pytest.approx(5 / 3)


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("at 126 BPM", 1.0),
        ("at 130 bpm", 1.0),
        ("at 132 bpm", 0.0),
        ("1260 BPM", 0.0),
        ("126 bpm or 63 bpm", 0.0),
        ("120-126 bpm", 0.0),
        ("fast", 0.0),
    ],
)
def test_a_tempo_is_hit_by_exactly_one_true_value(caption: str, expected: float) -> None:
    assert score(caption, {"bpm": "126"}) == expected


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("in C# minor", 1.0),
        ("in Db minor", 1.0),
        ("in E major", 0.0),
        ("C# minor and E major", 0.0),
        ("sad", 0.0),
    ],
)
def test_a_key_is_hit_by_exactly_one_enharmonic_value(caption: str, expected: float) -> None:
    assert score(caption, {"key": "C# minor"}) == expected


def test_a_meter_and_a_genre_are_hit_by_exactly_one_value() -> None:
    assert score("a jig in 6/8", {"meter": "6/8", "genre": "jig"}) == 1.0
    assert score("a jig or reel in 6/8 or 3/4", {"meter": "6/8", "genre": "jig"}) == 0.0
    assert score("a fiddle tune in 3/4", {"meter": "6/8", "genre": "jig"}) == 0.0


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("flute and violin", 1.0),
        ("flutes , violins", 1.0),
        ("flute", 2 / 3),
        ("flute , violin , oboe", 4 / 5),
        ("flute then flute", 2 / 4),
        ("flute , flute , flute , violin", 4 / 6),
        ("flute , violin , no drums", 1.0),
        ("not flute , violin", 2 / 3),
        ("fluted", 0.0),
    ],
)
def test_a_list_earns_its_f1_and_repetition_costs(caption: str, expected: float) -> None:
    assert score(caption, {"instruments": "flute, violin"}) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("flute , violin", 1.0),
        ("flute , flute", 2 / 7),
        ("flute , violin , violin", 4 / 8),
        ("oboe , oboe , flute", 2 / 8),
    ],
)
def test_a_repetition_may_cost_more_than_a_wrong_item(caption: str, expected: float) -> None:
    reward = StructuredThinkingReward(VOCABULARY, repeat_weight=4)
    assert reward.field_scores(caption, {"instruments": "flute, violin"})["instruments"] == pytest.approx(expected)


def test_a_repetition_cannot_cost_less_than_a_wrong_item() -> None:
    with pytest.raises(UserError, match="repeat_weight must be 1 or more"):
        StructuredThinkingReward(VOCABULARY, repeat_weight=0.5)


def test_a_section_that_comes_twice_may_be_said_twice() -> None:
    assert score("solo then full then solo", {"structure": "solo, full, solo"}) == 1.0
    assert score("solo then full", {"structure": "solo, full, solo"}) == pytest.approx(4 / 5)


def test_free_text_earns_half_the_weight_of_its_best_sentence() -> None:
    metadata = {"bpm": "96", "Mix Notes": "wide stereo"}
    # Sentence "wide piano sound": 2*1/(2+3); weights 1 and 1/2.
    expected = (1.0 + 0.5 * 2 / 5) / 1.5
    assert score("at 96 bpm . wide piano sound .", metadata) == pytest.approx(expected)


def test_a_word_field_without_vocabulary_is_free_text() -> None:
    assert score("forgiveness", {"lyric_themes": "forgiveness"}) == 1.0
    dump = " ".join(f"theme{index}" for index in range(30)) + " forgiveness"
    assert score(dump, {"lyric_themes": "forgiveness"}) < 0.1


def test_stating_what_a_complete_field_lacks_costs_a_field() -> None:
    assert score("96 bpm . it gets louder .", {"bpm": "96"}) == 1.0
    assert score("96 bpm . it gets louder .", {"bpm": "96"}, complete_fields=["dynamics"]) == 0.5
    assert score("96 bpm .", {"bpm": "96"}, complete_fields=["dynamics"]) == 1.0


def test_each_field_can_be_scored_on_its_own() -> None:
    reward = StructuredThinkingReward(VOCABULARY)
    assert reward.field_scores("a jig at 126 bpm", {"genre": "reel", "bpm": "126"}) == {
        "genre": 0.0,
        "bpm": 1.0,
    }


@pytest.mark.parametrize("completion", ["", "a reel", "<answer></answer>", "<answer>a</answer><answer>b</answer>"])
def test_a_completion_without_a_caption_earns_nothing(completion: str) -> None:
    assert StructuredThinkingReward(VOCABULARY)(completion, Reference("caption", "?", "x", metadata=METADATA)) == 0.0


def test_questions_and_songs_without_metadata_are_not_its_business() -> None:
    reward = StructuredThinkingReward(VOCABULARY)
    assert reward("<answer>x</answer>", Reference("qa", "?", "x", metadata=METADATA)) is None
    assert reward("<answer>x</answer>", Reference("caption", "?", "x", metadata={"genre": " "})) is None


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(UserError, match="mode must be exact or paper, not 'literal'"):
        StructuredThinkingReward(VOCABULARY, "literal")  # type: ignore[arg-type]


def test_a_complete_field_without_vocabulary_is_refused() -> None:
    with pytest.raises(UserError, match="complete_fields names mix_notes, but the vocabulary closes only genre"):
        StructuredThinkingReward(VOCABULARY, complete_fields=["mix_notes"])


def test_no_caption_makes_it_raise_or_leave_its_range() -> None:
    rng = random.Random(0)
    units = [
        "flute",
        "no",
        "96",
        "bpm",
        "G",
        "minor",
        "/",
        "4",
        ".",
        ",",
        "♯",
        "\ufdfa",
        "a",
        "-",
        "\n",
        "tempo",
        "ש",
    ]
    for _ in range(1000):
        caption = "".join(rng.choices(units, k=rng.randrange(40)) + [" "] * rng.randrange(2))
        assert 0.0 <= score(caption, METADATA) <= 1.0
        assert score(" ".join(caption), METADATA, mode="paper") >= 0.0


@pytest.mark.parametrize("unit", ["96 ", "1 and ", "a minor ", "flute ", "not a ", "\ufdfa", "1/", "tempo of ", ". "])
@pytest.mark.parametrize("length", [15_000, 1_000_000])
def test_long_captions_are_read_in_time(unit: str, length: int) -> None:
    caption = unit * (length // len(unit))
    start = time.process_time()
    score(caption, METADATA | {"theory": "G minor throughout"})
    assert time.process_time() - start < 0.5
