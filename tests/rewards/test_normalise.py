import pytest

from music_flamingo.rewards.normalise import fold, normalise_text


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("The  C♯ maj.", "c# major"),
        ("B♭ min", "bb minor"),
        ("F-sharp minor", "f# minor"),
        ("A flat major", "ab major"),
        ("A minor", "a minor"),
        ("a duet", "duet"),
        ("A, B, A", "a b a"),
        ("Hip–Hop", "hip hop"),
        ("3 / 4", "3/4"),
        ("¾", "3/4"),
        ("ＦＬＵＴＥ", "flute"),
        ("don’t", "dont"),
        ("R&B", "r and b"),
        ("96.5 BPM.", "96.5 bpm"),
        ("maj_7", "major 7"),
        ("«ניגון»", "ניגון"),
        (" . , ! ", ""),
    ],
)
def test_spellings_of_the_same_answer_meet(text: str, normalised: str) -> None:
    assert normalise_text(text) == normalised


@pytest.mark.parametrize("text", ["The C♯ maj.", "a the duet", "A flat", "3 / 4", "the an A", "-.-", "b - flat x"])
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise_text(normalise_text(text)) == normalise_text(text)


def test_folding_keeps_punctuation() -> None:
    assert fold("C♯  Maj, 3 / 4.") == "c# major, 3/4."
