"""What captions say is read back by the rewards' own reading of captions, never by the tables that wrote them."""

import re
from itertools import chain
from typing import Any

import pytest

from music_flamingo.corpora.songbook.caption_variants import MAX_VARIANTS, WORDINGS, Variant, caption_variants, facts_of
from music_flamingo.corpora.songbook.vocabulary import CHANGES, INSTRUMENTS, TEMPI, TEXTURES, songbook_vocabulary
from music_flamingo.errors import UserError
from music_flamingo.rewards.answer import read_key, read_meter
from music_flamingo.rewards.mention import mentioned_keys, mentioned_meters, mentioned_words, word_pattern
from music_flamingo.rewards.normalise import fold

from .truths import duet, full_piece, solo

TOGETHER = duet(entries=[{"instrument": "flute", "start": 0.0}, {"instrument": "violin", "start": 0.0}])
BARE = {"entries": [{"instrument": "oboe", "start": 0.0}], "drums": False, "tempo": "slow"}
TRUTHS = {"duet": duet(), "solo": solo(), "full piece": full_piece(), "together": TOGETHER, "bare": BARE}
every_truth = pytest.mark.parametrize("truth", TRUTHS.values(), ids=TRUTHS.keys())


def stated(text: str, values: tuple[str, ...]) -> tuple[str, ...]:
    pattern = word_pattern(values)
    assert pattern is not None
    return tuple(mentioned_words(pattern, fold(text), values))


def instruments(text: str) -> tuple[str, ...]:
    """In order of entry; with "together" last where that is said."""
    names = stated(text, INSTRUMENTS)
    if re.search(r"\b(together|at once|both|begins with)\b", text):
        return (*sorted(names), "together")
    return names[::-1] if re.search(r"\b(after|comes last and)\b", text) else names


def read(caption: str) -> dict[str, Any]:
    """Everything a caption says, so that two captions are compared on all of it."""
    assert re.search(r"\b(drums?)\b", caption)
    return {
        "instruments": instruments(caption),
        "drums": stated(caption, ("drums",)) == ("drums",),
        "textures": stated(caption, TEXTURES),
        "tempo": stated(caption, TEMPI),
        "change": stated(caption, tuple(songbook_vocabulary()["fields"]["dynamics"])),
        "key": mentioned_keys(fold(caption)),
        "meter": mentioned_meters(fold(caption)),
    }


def expected(truth: dict[str, Any]) -> dict[str, Any]:
    entries = truth["entries"]
    names = tuple(entry["instrument"] for entry in entries)
    together = len(entries) > 1 and entries[0]["start"] == entries[1]["start"]
    textures = truth.get("sections") or [truth.get("texture")]
    return {
        "instruments": (*sorted(names), "together") if together else names,
        "drums": truth["drums"],
        "textures": tuple(texture for texture in textures if texture),
        "tempo": (truth["tempo"],),
        "change": tuple(change for change in CHANGES if change == truth.get("change")),
        "key": {read_key(f"{truth['tonic']} {truth['mode']}")} if "tonic" in truth else set(),
        "meter": {read_meter(truth["meter"])} if "meter" in truth else set(),
    }


def variants_of(truth: dict[str, Any]) -> list[list[Variant]]:
    """For twenty songs of one truth, as many captions as there are."""
    return [caption_variants(truth, str(song), num_positives=MAX_VARIANTS) for song in range(20)]


def false_fields(caption: str, negative: str) -> list[str]:
    true, said = read(caption), read(negative)
    return [field for field in true if true[field] != said[field]]


@every_truth
def test_captions_say_what_is_true_in_different_words(truth: dict[str, Any]) -> None:
    for variants in variants_of(truth):
        assert len({variant.text for variant in variants}) == MAX_VARIANTS
        assert [read(variant.text) for variant in variants] == [expected(truth)] * MAX_VARIANTS


@every_truth
def test_a_negative_is_false_in_exactly_one_fact(truth: dict[str, Any]) -> None:
    for variant in chain.from_iterable(variants_of(truth)):
        assert len({negative.text for negative in variant.negatives}) == 3
        assert [len(false_fields(variant.text, negative.text)) for negative in variant.negatives] == [1, 1, 1]


@every_truth
def test_a_negative_is_as_long_as_its_caption_and_shares_its_words(truth: dict[str, Any]) -> None:
    for variant in chain.from_iterable(variants_of(truth)):
        words = variant.text.split()
        for negative in variant.negatives:
            others = negative.text.split()
            # "gets louder" and "pauses" differ by a word; tonic and mode may both differ.
            assert abs(len(others) - len(words)) <= (negative.field == "change")
            assert len(set(others) - set(words)) <= 2


def test_everything_that_can_be_false_is_false() -> None:
    # One order, 6 instruments in either place, drums, duet -> full, 2 tempi, 2 changes, 23 keys, 4/4 -> 3/4 or 6/8.
    count = 1 + 2 * 6 + 1 + 1 + 2 + 2 + 23 + 2
    for variant in caption_variants(duet(), "a", num_negatives=count):
        assert len({negative.text for negative in variant.negatives}) == count
        assert {len(false_fields(variant.text, negative.text)) for negative in variant.negatives} == {1}
    with pytest.raises(UserError, match=f"num_negatives: expected 0 to {count}, what can be false of cut a, got"):
        caption_variants(duet(), "a", num_negatives=count + 1)


def test_order_is_exchanged_first_with_the_same_words_or_the_relation_turned() -> None:
    turned = {"before": "after", "after": "before", "first": "last", "last": "first"}
    found = set()
    for index in range(100):
        for variant in caption_variants(duet(), str(index)):
            negative = variant.negatives[0]
            assert (negative.field, negative.value) == ("entries", ("violin", "flute"))
            words, others = variant.text.split(), negative.text.split()
            differing = {(a, b) for a, b in zip(words, others, strict=True) if a != b}
            names_exchanged = {("flute", "violin"), ("violin", "flute")}
            assert differing == names_exchanged or all(turned[a] == b for a, b in differing)
            found.add(differing == names_exchanged)
    assert found == {True, False}


def test_textures_of_two_sections_are_exchanged() -> None:
    values = {
        negative.value
        for index in range(50)
        for variant in caption_variants(full_piece(), str(index))
        for negative in variant.negatives
        if negative.field == "structure"
    }
    assert values == {("full", "solo", "duet"), ("duet", "full", "solo"), ("solo", "duet", "full")}


def test_no_negative_names_sections_that_no_song_has() -> None:
    truth = full_piece(sections=["solo", "full", "solo"])
    negatives = caption_variants(truth, "a", num_positives=1, num_negatives=46)[0].negatives
    values = {negative.value for negative in negatives if negative.field == "structure"}
    assert values == {("duet", "full", "solo"), ("solo", "duet", "solo"), ("solo", "full", "duet")}


def test_a_solo_is_no_duet_since_its_one_instrument_would_tell() -> None:
    fields = {negative.field for negative in caption_variants(solo(), "a", num_negatives=30)[0].negatives}
    assert "texture" not in fields
    values = [negative.value for negative in caption_variants(duet(), "a", num_negatives=40)[0].negatives]
    assert ("full",) in values
    assert ("solo",) not in values


def test_an_instrument_that_plays_between_is_never_said_to_enter_first() -> None:
    entries = [{"instrument": name, "start": float(start)} for start, name in enumerate(("flute", "oboe", "violin"))]
    variant = caption_variants(duet(entries=entries), "a", num_negatives=40)[0]
    assert instruments(variant.text) == ("flute", "violin")
    assert all("oboe" not in negative.text for negative in variant.negatives)


def test_three_negatives_are_about_three_facts() -> None:
    for index in range(50):
        for variant in caption_variants(duet(), str(index)):
            assert len({negative.field for negative in variant.negatives}) == 3


def test_the_same_song_and_seed_give_the_same_captions() -> None:
    first = caption_variants(duet(), "a", seed=3)
    assert caption_variants(dict(reversed(duet().items())), "a", seed=3) == first
    assert caption_variants(duet(), "a", seed=4) != first
    assert caption_variants(duet(), "b", seed=3) != first
    pinned = caption_variants(BARE, "a", num_positives=1, num_negatives=2)[0]
    assert pinned.text == "the oboe plays . it moves at a slow pace . this is music without drums ."
    assert [negative.text for negative in pinned.negatives] == [
        "the oboe plays . it moves at a moderate pace . this is music without drums .",
        "the trumpet plays . it moves at a slow pace . this is music without drums .",
    ]


def test_what_is_not_known_is_not_said() -> None:
    assert facts_of(BARE) == {"instrument": ("oboe",), "tempo": ("slow",), "drums": ("no drums",)}
    assert "change" not in facts_of(solo())


def test_every_field_can_be_said_in_as_many_words() -> None:
    assert {len(set(wordings)) for wordings in WORDINGS.values()} == {MAX_VARIANTS}


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(UserError, match="cut a: its truth holds no fact"):
        caption_variants({}, "a")
    with pytest.raises(UserError, match="num_positives: expected 1 to 4 captions of a song, got 5"):
        caption_variants(duet(), "a", num_positives=5)
    with pytest.raises(UserError, match="num_negatives: expected 0 to 10, what can be false of cut a, got 11"):
        caption_variants(BARE, "a", num_negatives=11)


@pytest.mark.parametrize("further", [0, 1, 2])
def test_captions_say_who_plays_and_at_most_so_many_further_facts(further: int) -> None:
    spoken = set()
    for song in range(30):
        variants = caption_variants(duet(), str(song), num_positives=2, num_negatives=1, further_facts=further)
        for variant in variants:
            assert instruments(variant.text) == tuple(entry["instrument"] for entry in duet()["entries"])
            assert variant.text.count(" .") == 1 + further
        spoken.add(variants[0].text)
    assert len(spoken) > 10 * further


def test_of_fewer_facts_captions_say_all() -> None:
    said = caption_variants(BARE, "0", num_negatives=1, further_facts=9)[0].text
    assert read(said) == expected(BARE)
