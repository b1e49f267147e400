import pytest
import torch

from music_flamingo.batch import AudioWindows, PrefixTree, RowBuilder
from music_flamingo.errors import UserError
from music_flamingo.models.audio_encoder import audio_token_lengths

AUDIO = 9


def windows(*lengths: int) -> AudioWindows:
    heard, places = torch.tensor(lengths), torch.arange(len(lengths))
    return AudioWindows(torch.zeros(len(lengths), 4, 100), heard, places, audio_token_lengths(heard))


def test_positions_restart_at_roots_and_go_on_in_branches() -> None:
    tree = PrefixTree((3, 2, 2, 1, 2), (-1, 0, 0, 2, -1))
    assert tree.position_ids().tolist() == [0, 1, 2, 3, 4, 3, 4, 5, 0, 1]
    assert tree.path(3) == [0, 2, 3]
    assert tree.row_positions(3) == [0, 1, 2, 5, 6, 7]
    assert tree.path_lengths == (3, 5, 5, 6, 2)


@pytest.mark.parametrize(
    ("lengths", "parents", "message"),
    [
        ((2, 0), (-1, 0), "segment 1 has 0 tokens: give it at least one, or leave it out"),
        ((2, 2, -3), (-1, 0, 0), "segment 2 has -3 tokens: give it at least one, or leave it out"),
        ((2, 2), (-1, 1), "segment 1 names parent 1, which does not stand before it: put parents before"),
        ((2, 2, 2), (-1, 2, 0), "segment 1 names parent 2, which does not stand before it: put parents before"),
        ((2, 2, 2), (-1, 2, 1), "segment 1 names parent 2, which does not stand before it: put parents before"),
        ((2, 2, 2), (2, 0, 1), "segment 0 names parent 2, which does not stand before it: put parents before"),
        ((2, 2), (-1, 7), "segment 1 names parent 7, which does not stand before it"),
        ((2, 2), (-1, -2), "segment 1 names parent -2, .* give a root the parent -1"),
        ((2, 2, 2), (-1, -1, 0), "segment 2 stands apart from its root, segment 0: put all segments of a root behind"),
        ((2,), (-1, 0), "1 segment lengths, but 2 parents: give each segment a length and a parent"),
        ((2, 2), (-1,), "2 segment lengths, but 1 parents: give each segment a length and a parent"),
    ],
)
def test_a_layout_that_is_no_forest_is_refused(
    lengths: tuple[int, ...], parents: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        PrefixTree(lengths, parents)


def test_only_answers_are_targets_and_a_first_token_is_predicted_from_its_parents_last() -> None:
    row = RowBuilder(AUDIO)
    song = row.add([1, AUDIO, 2], windows=windows(4))
    row.add([3, 4, 5], parent=song, train_from=2)
    row.add([6, 7], parent=song, train_from=0)
    batch = row.build()
    assert batch.targets.positions.tolist() == [4, 2, 6]
    assert batch.targets.token_ids.tolist() == [5, 6, 7]
    assert batch.targets.segments.tolist() == [1, 2, 2]
    assert batch.targets.weights.tolist() == [1.0, 1.0, 1.0]
    assert batch.audio_positions.tolist() == [1]


def test_trained_tokens_can_weigh_differently() -> None:
    row = RowBuilder(AUDIO)
    song = row.add([1, AUDIO, 2], windows=windows(4))
    row.add([3, 4, 5], parent=song, train_from=1, weights=[1.0, 4.0])
    row.add([6], parent=song, train_from=0)
    assert row.build().targets.weights.tolist() == [1.0, 4.0, 1.0]


def test_placeholders_without_audio_are_an_error() -> None:
    with pytest.raises(UserError, match=r"expected 0 audio placeholders for 0 windows of audio, got 1 in the text"):
        RowBuilder(AUDIO).add([1, AUDIO, 2])


def test_audio_without_placeholders_is_an_error() -> None:
    with pytest.raises(UserError, match=r"expected 26 audio placeholders for 2 windows of audio, got 0"):
        RowBuilder(AUDIO).add([1, 2], windows=windows(100, 4))


def test_audio_of_a_branch_is_an_error() -> None:
    row = RowBuilder(AUDIO)
    row.add([1, 2])
    with pytest.raises(ValueError, match="belongs to a root"):
        row.add([AUDIO], parent=0, windows=windows(4))


@pytest.mark.parametrize(("frames", "tokens"), [(3000, 750), (1000, 250), (4, 1), (745 * 4, 745)])
def test_audio_tokens_are_forty_milliseconds_long(frames: int, tokens: int) -> None:
    assert audio_token_lengths(torch.tensor(frames)) == tokens


def test_windows_of_one_song_can_be_taken_out_again() -> None:
    row = RowBuilder(AUDIO)
    row.add([AUDIO] * 26, windows=windows(100, 4))
    row.add([1])
    row.add([AUDIO] * 2, windows=windows(8))
    batch = row.build()
    assert batch.song_windows(0).lengths.tolist() == [100, 4]  # type: ignore[union-attr]
    assert batch.song_windows(1) is None
    assert batch.song_windows(2).lengths.tolist() == [8]  # type: ignore[union-attr]
    assert batch.prompts() == [1]


def test_a_placeholder_that_a_model_drew_is_a_word() -> None:
    row = RowBuilder(AUDIO)
    row.add([1, AUDIO], windows=windows(4))
    row.add([AUDIO, 3], parent=0, train_from=0, sampled=True)
    assert row.build().audio_positions.tolist() == [1]
