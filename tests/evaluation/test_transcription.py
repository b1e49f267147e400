"""Word and character errors by hand."""

import json
from pathlib import Path

import pytest
import soundfile

from music_flamingo.cli import main
from music_flamingo.corpora.songs import open_songs
from music_flamingo.errors import UserError
from music_flamingo.evaluation.transcription import MOST_LINES, Errors, Transcript, languages_of, rate_name
from tests.builders import song

ASKED = {"id": "a-1", "question_name": "transcription", "answer": "Hello, world!", "language": "en"}


def test_words_are_compared_without_case_punctuation_and_space() -> None:
    sung = Transcript("Don't stop me -- NOW!", "en")
    assert sung.units(sung.text) == ["dont", "stop", "me", "now"]
    assert sung.errors(" don’t  stop\tme now.") == Errors(length=4)


def test_word_errors_are_counted_by_kind() -> None:
    """A stands for the, on is missing, and yeah was added twice."""
    errors = Transcript("the cat sat on the mat", "en").errors("a cat sat the mat yeah yeah")
    assert errors == Errors(substituted=1, deleted=1, inserted=2, length=6)
    assert (errors.total, errors.rate) == (4, 4 / 6)


@pytest.mark.parametrize("language", ["zh", "ZH-cn", "cmn_Hans", "yue", "ja", "th"])
def test_languages_without_spaces_are_compared_by_characters(language: str) -> None:
    sung = Transcript.of_conversation(ASKED | {"answer": "月亮代表我的心。", "language": language}, "cut")
    assert sung is not None
    assert sung.unit == "character"
    assert sung.errors("月亮 代表 你的 心") == Errors(substituted=1, length=7)
    assert rate_name(sung.language, sung.unit) == f"cer/{language.lower().replace('_', '-').partition('-')[0]}"


def test_korean_is_written_with_spaces() -> None:
    assert Transcript("안녕 세상", "ko").errors("안녕 세계") == Errors(substituted=1, length=2)


def test_nothing_written_is_all_deleted_and_repeats_go_above_one() -> None:
    sung = Transcript("la la", "fr")
    assert sung.errors("") == Errors(deleted=2, length=2)
    assert sung.errors("la " * 10).rate == 4.0


def test_rates_of_several_transcripts_are_sums_of_errors_over_sums_of_lengths() -> None:
    first, second = Transcript("a b c d e f g h", "en").errors("a b c d e f g x"), Transcript("a b", "en").errors("x y")
    assert (first + second).rate == 3 / 10


def test_speakers_may_stand_in_any_order_and_lines_in_lyrics_may_not() -> None:
    said, wrote = "good morning all\nhi there", "hi there\ngood evening all"
    assert Transcript(said, "en", several_speakers=True).errors(wrote) == Errors(substituted=1, length=5)
    assert Transcript(said, "en").errors(wrote).total > 1


def test_a_speaker_too_many_is_inserted_and_a_missing_one_deleted() -> None:
    said = Transcript("good morning all\nhi there", "en", several_speakers=True)
    assert said.errors("hi there") == Errors(deleted=3, length=5)
    assert said.errors("hi there\ngood morning all\n\nuh huh") == Errors(inserted=2, length=5)
    assert said.errors("") == Errors(deleted=5, length=5)


def test_a_text_of_many_lines_is_no_more_speakers_than_there_may_be() -> None:
    """31 lines of an x and one of 33: that one is written for three words, another for two; all else is inserted."""
    said = Transcript("good morning all\nhi there", "en", several_speakers=True)
    written = "x\n" * (2 * MOST_LINES)
    assert said.errors(written) == Errors(substituted=4, deleted=1, inserted=2 * MOST_LINES - 4, length=5)


def test_a_conversation_that_asks_for_something_else_is_no_transcript() -> None:
    assert Transcript.of_conversation({"id": "a", "question_name": "tempo", "answer": "fast"}, "cut") is None


@pytest.mark.parametrize("language", [None, "", 7])
def test_a_transcript_must_say_its_language(language: object) -> None:
    message = r"^cut clip-1, conversation a-1: expected `language`, the ISO 639 code .*: add the column or field"
    with pytest.raises(UserError, match=message):
        Transcript.of_conversation(ASKED | {"language": language}, "clip-1")


def test_a_transcript_must_hold_a_word() -> None:
    with pytest.raises(UserError, match=r"^cut clip-1, conversation a-1: expected words to transcribe .* got '\.\.\.'"):
        Transcript.of_conversation(ASKED | {"answer": "..."}, "clip-1")


def test_the_names_of_rates_follow_the_languages() -> None:
    assert languages_of([Transcript("x", "zh"), Transcript("x", "en"), Transcript("y", "en")]) == {
        "en": "word",
        "zh": "character",
    }
    assert rate_name("en", "word") == "wer/en"


@pytest.mark.parametrize("kind", ["csv", "hf"])
def test_importing_keeps_the_language_and_the_kind_of_transcript(kind: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", song(1.0), 16_000)
    told = {"question_name": "lyrics", "language": "zh"}
    if kind == "csv":
        given = tmp_path / "songs.csv"
        given.write_text("path,question,answer,question_name,language\na.wav,What is sung?,月亮,lyrics,zh\n")
    else:
        given = tmp_path / "songs.json"
        turns = [{"from": "human", "value": "<sound>\nWhat is sung?"}, {"from": "gpt", "value": "月亮"}]
        given.write_text(json.dumps([{"sound": "a.wav", "conversations": turns, **told}]))
    assert main(["data", "import", kind, str(given), "--out", str(tmp_path / "corpus")]) == 0
    file = next((tmp_path / "corpus").glob("cuts_*"))
    cut = next(iter(open_songs(str(tmp_path / "corpus"), file.name.split(".")[0].removeprefix("cuts_"))))
    sung = Transcript.of_conversation(cut.custom["conversations"][0], cut.id)
    assert sung == Transcript("月亮", "zh")
