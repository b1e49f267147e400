import pytest

from music_flamingo.corpora.songbook.captions import caption_facts, caption_text, metadata, render_caption
from music_flamingo.corpora.songbook.vocabulary import KEYS, songbook_vocabulary
from music_flamingo.errors import UserError
from music_flamingo.rewards.reference import Reference
from music_flamingo.rewards.structured_thinking import StructuredThinkingReward

from .truths import duet, full_piece, solo

MAX_TOKENS = 35


def test_caption_of_a_duet() -> None:
    assert caption_text(duet(), "fiddle tune") == (
        "a reel for flute and violin , with drums . duet texture . fast , 126 BPM . G major , 4/4 . "
        "Cmaj chord . it gets louder ."
    )


def test_caption_of_a_solo_is_silent_about_what_is_not_there() -> None:
    assert caption_text(solo(), "chorale") == "a chorale for oboe . solo texture . slow , 72 BPM . Bb minor , 3/4 ."


def test_caption_of_a_full_piece_names_its_sections() -> None:
    assert caption_text(full_piece(change="pause"), "renaissance") == (
        "renaissance music for flute and violin , with drums . solo then full then duet . fast , 126 BPM . "
        "G major , 4/4 . there is a pause ."
    )


@pytest.mark.parametrize("truth", [duet(dance=None), solo(), full_piece()])
def test_captions_are_short(truth: dict[str, object]) -> None:
    assert len(caption_text(truth, "fiddle tune").split()) <= MAX_TOKENS


@pytest.mark.parametrize("left_out", list(caption_facts(duet(), "quartet")))
def test_any_fact_may_be_left_out(left_out: str) -> None:
    facts = {name: value for name, value in caption_facts(duet(), "quartet").items() if name != left_out}
    caption = render_caption(facts)
    assert caption.endswith(" .")
    assert ". ." not in caption
    assert ", ." not in caption


def test_a_caption_without_facts_is_music() -> None:
    assert render_caption({}) == "music ."


def test_metadata_of_a_duet() -> None:
    assert metadata(duet(), "fiddle tune") == {
        "genre": "reel",
        "bpm": "126",
        "key": "G major",
        "meter": "4/4",
        "instruments": "flute, violin, drums",
        "theory": "duet texture; Cmaj chord",
        "dynamics": "louder",
    }


def test_metadata_of_a_solo_has_no_dynamics() -> None:
    assert metadata(solo(), "chorale") == {
        "genre": "chorale",
        "bpm": "72",
        "key": "Bb minor",
        "meter": "3/4",
        "instruments": "oboe",
        "theory": "solo texture",
    }


def test_metadata_of_a_full_piece_has_structure_and_no_theory() -> None:
    fields = metadata(full_piece(), "quartet")
    assert fields["structure"] == "solo, full, duet"
    assert "theory" not in fields


@pytest.mark.parametrize("truth", [duet(), solo(), full_piece()])
def test_metadata_values_are_in_the_closed_lists_and_in_the_caption(truth: dict[str, object]) -> None:
    fields = metadata(truth, "quartet")
    caption = caption_text(truth, "quartet")
    closed = songbook_vocabulary()["fields"]
    for name in fields.keys() - {"bpm"}:
        for value in fields[name].replace("; ", ", ").split(", "):
            assert value in closed[name]
            assert value in caption


def test_an_unknown_tradition_is_an_error() -> None:
    with pytest.raises(UserError, match="tradition: expected one of fiddle tune, .*got 'opera'"):
        metadata(solo(), "opera")


def test_an_unknown_dance_is_an_error() -> None:
    with pytest.raises(UserError, match="dance: expected one of reel, .*got 'tango'"):
        caption_text(duet(dance="tango"), "fiddle tune")


@pytest.mark.parametrize("key", KEYS)
def test_a_true_caption_earns_the_whole_reward(key: str) -> None:
    tonic, mode = key.split()
    reward = StructuredThinkingReward(songbook_vocabulary(), complete_fields=("dynamics",))
    for truth in (
        duet(tonic=tonic, mode=mode),
        solo(tonic=tonic, mode=mode),
        full_piece(tonic=tonic, mode=mode),
    ):
        caption = caption_text(truth, "renaissance")
        reference = Reference("caption", "Describe the music.", caption, metadata=metadata(truth, "renaissance"))
        assert reward(f"<think> so . </think> <answer> {caption} </answer>", reference) == pytest.approx(1.0)
