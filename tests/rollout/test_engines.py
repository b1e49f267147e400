import pytest
import torch

from music_flamingo.rollout import HFEngine, SamplingParameters, SharedEngine
from music_flamingo.rollout.rows import on_other_songs, with_completions, without_answers
from tests.builders import ANSWERS, QUESTIONS, chat, question_row, song, tiny_model

SONGS = [song(10.0, 0), song(15.0, 1), song(34.0, 2)]  # one, two and four windows


def test_greedy_tokens_equal_those_of_transformers_generate() -> None:
    model, row = tiny_model(), question_row(SONGS, answers=None)
    with torch.no_grad():
        audio = model.encode_audio(row)
    sampling = SamplingParameters(max_new_tokens=12, temperature=0.0, num_generations=2)
    ours, expected = (
        engine.sample(model, row, audio, sampling, chat().end_of_turn) for engine in (SharedEngine(), HFEngine())
    )
    assert len(ours) == len(expected) == 3 * len(QUESTIONS) * 2
    for one, other in zip(ours, expected, strict=True):
        assert one.prompt == other.prompt
        assert one.token_ids.tolist() == other.token_ids.tolist()
        torch.testing.assert_close(one.logprobs, other.logprobs, rtol=0, atol=1e-5)
        torch.testing.assert_close(one.entropies, other.entropies, rtol=0, atol=1e-4)


def test_sampled_logprobs_equal_the_trainers_on_a_row_of_completions() -> None:
    model, row = tiny_model(), question_row(SONGS, answers=None)
    sampling = SamplingParameters(max_new_tokens=9, temperature=0.7, num_generations=5)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        audio = model.encode_audio(row)
        completions = SharedEngine().sample(model, row, audio, sampling, chat().end_of_turn, generator)
        packed, sequence_index = with_completions(row, completions, model.audio_token_id)
        logprobs, _ = model.target_logprobs(packed, temperature=0.7)
    torch.testing.assert_close(logprobs, torch.cat([c.logprobs for c in completions]), rtol=0, atol=1e-5)
    expected = [number for number, c in enumerate(completions) for _ in c.token_ids]
    assert sequence_index.tolist() == expected
    assert packed.targets.token_ids.tolist() == torch.cat([c.token_ids for c in completions]).tolist()


def test_all_completions_of_a_group_hear_the_same_audio() -> None:
    """`generate(num_return_sequences=5)` repeats audio per window.

    From the second window on rows would hear other songs.
    """
    model, row = tiny_model(), question_row(SONGS, QUESTIONS[:1], answers=None)
    with torch.no_grad():
        audio = model.encode_audio(row)
        greedy = SamplingParameters(max_new_tokens=8, temperature=0.0, num_generations=5)
        completions = SharedEngine().sample(model, row, audio, greedy, chat().end_of_turn)
    for start in range(0, len(completions), 5):
        group = completions[start : start + 5]
        for member in group[1:]:
            torch.testing.assert_close(member.logprobs, group[0].logprobs, rtol=0, atol=1e-5)


def test_sampling_is_repeated_by_its_seed() -> None:
    model, row = tiny_model(), question_row(SONGS[:1], answers=None)
    drawn = [
        SharedEngine().sample(
            model,
            row,
            model.encode_audio(row),
            SamplingParameters(6),
            chat().end_of_turn,
            torch.Generator().manual_seed(s),
        )
        for s in (3, 3, 4)
    ]
    tokens = [[c.token_ids.tolist() for c in completions] for completions in drawn]
    assert tokens[0] == tokens[1] != tokens[2]


def test_prompts_without_answers_are_the_prompts() -> None:
    row = without_answers(question_row(SONGS), chat().processor.audio_token_id)
    prompts = question_row(SONGS, answers=None)
    assert row.input_ids.tolist() == prompts.input_ids.tolist()
    assert row.tree == prompts.tree
    assert len(row.targets) == 0


def test_prompts_on_other_songs_keep_their_questions_and_hear_another_song() -> None:
    row = question_row(SONGS, answers=None)
    other = on_other_songs(row, chat().processor.audio_token_id)
    assert other.window_counts == (2, 4, 1)
    for segment, parent in enumerate(row.tree.parents):
        if parent >= 0:
            assert other.segment_ids(segment).tolist() == row.segment_ids(segment).tolist()
    torch.testing.assert_close(other.song_windows(0).features, row.song_windows(1).features)  # type: ignore[union-attr]


@pytest.mark.parametrize("wrong", [{"max_new_tokens": 0}, {"num_generations": 0}, {"temperature": -1.0}])
def test_sampling_parameters_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="at least"):
        SamplingParameters(**wrong)  # type: ignore[arg-type]


def test_a_completion_ends_with_the_end_of_turn_or_is_marked_cut() -> None:
    model, row = tiny_model(), question_row(SONGS[:1], QUESTIONS[:1], answers=None)
    with torch.no_grad():
        model.head_weight.zero_()
        completions = SharedEngine().sample(
            model, row, model.encode_audio(row), SamplingParameters(3, 0.0, 1), chat().end_of_turn
        )
    assert [len(c.token_ids) for c in completions] == [3]
    assert not completions[0].finished
    assert len(ANSWERS) == len(QUESTIONS)
