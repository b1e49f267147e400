from typing import Any

import pytest

from music_flamingo.corpora.songbook.caption_variants import caption_variants
from music_flamingo.data_modules import SongbookCaptions, WrittenCaptions
from music_flamingo.errors import UserError
from tests.builders import truth

WRITTEN = [
    {"text": "a flute, then a violin", "negatives": ["a violin, then a flute", "a flute, then an oboe"]},
    {"text": "the violin follows the flute", "negatives": ["the flute follows the violin"]},
]


def example(**custom: Any) -> dict[str, Any]:
    return {"cut": "clip-7", "custom": {"truth": truth(), **custom}}


def test_songbook_captions_are_those_of_the_truth_with_as_many_negatives() -> None:
    captions = SongbookCaptions(2, 3, seed=5)(example())
    variants = caption_variants(truth(), "clip-7", num_positives=2, num_negatives=3, seed=5)
    assert [caption.text for caption in captions] == [variant.text for variant in variants]
    assert [len(caption.negatives) for caption in captions] == [3, 3]
    assert captions[0].negatives == tuple(negative.text for negative in variants[0].negatives)


def test_each_visit_of_a_song_words_its_captions_otherwise_and_the_same_visit_alike() -> None:
    captions = SongbookCaptions()
    visits: list[dict[str, int]] = [{}, {"epoch": 0}, {"epoch": 1}, {"epoch": 1, "visit": 1}]
    said = [tuple(captions(example(**visit))) for visit in visits]
    assert len(set(said)) == 4
    assert said == [tuple(captions(example(**visit))) for visit in visits]


def test_a_caption_without_negatives_is_enough_where_none_are_wanted() -> None:
    captions = SongbookCaptions(num_positives=1, num_negatives=0)(example())
    assert [caption.negatives for caption in captions] == [()]


def test_songbook_captions_may_say_little() -> None:
    captions = SongbookCaptions(2, 1, further_facts=1)(example())
    assert [caption.text.count(" .") for caption in captions] == [2, 2]
    with pytest.raises(UserError, match="further_facts of at least 0, got -1"):
        SongbookCaptions(further_facts=-1)


def test_written_captions_are_the_first_ones_of_the_corpus() -> None:
    (caption,) = WrittenCaptions(1, 1)(example(captions=WRITTEN))
    assert caption.text == "a flute, then a violin"
    assert caption.negatives == ("a violin, then a flute",)
    assert [len(each.negatives) for each in WrittenCaptions(2, 1)(example(captions=WRITTEN))] == [1, 1]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (None, r"cut clip-7: custom\.captions: expected 2 captions with `text` and `negatives`, got None"),
        ("a flute", "expected 2 captions .* got 'a flute'"),
        (WRITTEN[:1], "expected 2 captions"),
        ([{"text": "a flute"}] * 2, "expected 2 captions"),
        ([{"text": " ", "negatives": []}] * 2, "expected 2 captions"),
        ([{"text": "a flute", "negatives": [3]}] * 2, "expected 2 captions"),
        (
            WRITTEN,
            r"expected 2 negatives of each caption, got \['the flute follows the violin'\]: write them, or lower",
        ),
    ],
)
def test_a_song_with_fewer_captions_is_named(written: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        WrittenCaptions(2, 2)(example(captions=written))


@pytest.mark.parametrize("custom", [{}, {"truth": None}, {"truth": "a flute"}])
def test_a_song_without_truth_is_named(custom: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"^cut clip-7: custom\.truth: expected facts of the song by name, got "):
        SongbookCaptions()({"cut": "clip-7", "custom": custom})


@pytest.mark.parametrize("numbers", [(0, 3), (1, -1)])
def test_impossible_numbers_are_refused(numbers: tuple[int, int]) -> None:
    with pytest.raises(UserError, match="captions: expected num_positives of at least 1"):
        WrittenCaptions(*numbers)
