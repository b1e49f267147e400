from music_flamingo.corpora.formats.song_splits import SongSplits, drawn_split, known_split, stable_hash


def test_hashes_are_the_same_everywhere() -> None:
    # echo -n a.wav | b2sum -l 64
    assert stable_hash("a.wav") == int("7173cc6a3aa7a146", 16)


def test_a_song_is_drawn_by_its_place_between_0_and_1() -> None:
    half, share = 2**63, 2**64 // 50
    assert drawn_split(share - 10_000, 0.02, 0.02) == "val"
    assert drawn_split(share + 10_000, 0.02, 0.02) == "test"
    assert drawn_split(half, 0.02, 0.02) == "train"
    assert drawn_split(half, 0.0, 1.0) == "test"


def test_shares_are_kept_within_chance() -> None:
    splits = SongSplits(val_share=0.1, test_share=0.2)
    drawn = [splits.split_of(f"{number}.wav") for number in range(2000)]
    assert abs(drawn.count("val") - 200) < 60
    assert abs(drawn.count("test") - 400) < 80


def test_files_of_a_piece_share_its_split_whatever_order_they_are_told_in() -> None:
    splits = SongSplits(val_share=0.5, test_share=0.5)
    for number in range(20):
        splits.note(f"{number}.wav", "piece", None)
    splits.note("7.wav", None, "train")
    splits.settle()
    assert {splits.split_of(f"{number}.wav") for number in range(20)} == {"train"}


def test_a_song_of_several_splits_is_in_the_one_furthest_from_training() -> None:
    splits = SongSplits()
    for split in ("train", "test", "val"):
        splits.note("a.wav", None, split)
    splits.settle()
    assert splits.split_of("a.wav") == "test"


def test_usual_names_of_splits_are_known() -> None:
    names = ["Training", "dev", " validation", "TEST", "unbalanced", None]
    assert [known_split(name) for name in names] == ["train", "val", "val", "test", None, None]
