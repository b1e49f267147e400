import re

import pytest
import torch

from music_flamingo.batch import AudioWindows, PackedBatch, RowBuilder
from music_flamingo.errors import UserError
from music_flamingo.models import MusicFlamingo
from music_flamingo.models.model_kinds import load_model
from music_flamingo.models.position_limit import require_positions
from music_flamingo.rollout import Completion, HFEngine, RolloutEngine, SamplingParameters, SharedEngine
from music_flamingo.rollout.rows import with_completions
from tests.builders import QUESTIONS, chat, question_row, song, tiny_model
from tests.models.test_packed_rows import asked_row, directory

REMEDY = "lower data.max_song_seconds (data.shorten_songs hears the beginning) or shorten the text"


def row(*, named: bool = True, audio_tokens: int = 4) -> PackedBatch:
    """Paths of 4, 7, 9 and 6 tokens."""
    builder = RowBuilder(audio_token_id=99)
    cut = {"cut": "clip-7"} if named else {}
    asked = {**cut, "conversation": {"id": "clip-7-2"}} if named else {}
    windows = AudioWindows(torch.zeros(1, 8, 16), torch.tensor([16]), torch.tensor([0]), torch.tensor([audio_tokens]))
    root = builder.add([99] * audio_tokens + [1] * (4 - audio_tokens), windows=windows, example=cut)
    question = builder.add([2] * 3, parent=root, example=asked)
    builder.add([3] * 2, parent=question)
    builder.add([4] * 2, parent=root, example=cut)
    return builder.build()


def limited(positions: int) -> MusicFlamingo:
    model = tiny_model()
    model.network.config.text_config.max_position_embeddings = positions
    return model


def test_the_longest_path_may_take_all_positions() -> None:
    require_positions(row(), 9, range(4))
    require_positions(row(), 9, [1, 3], new_tokens=2)
    require_positions(row(), 1, [])


def test_a_longer_path_is_refused_by_segment_cut_and_conversation() -> None:
    message = (
        "segment 2 of the row (cut clip-7, conversation clip-7-2): expected at most 8 tokens, the language model's "
        f"text_config.max_position_embeddings, got 9 (4 of the song, 5 after it): {REMEDY}"
    )
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        require_positions(row(), 8, range(4))


def test_a_prompt_that_leaves_too_few_positions_to_sample_is_refused() -> None:
    message = "segment 3 of the row (cut clip-7): expected at most 8 tokens"
    details = f"got 9 (4 of the song, 2 after it, up to 3 sampled): {REMEDY} or lower max_new_tokens"
    with pytest.raises(UserError, match=f"^{re.escape(message)}.*{re.escape(details)}$"):
        require_positions(row(), 8, [3], new_tokens=3)


def test_a_shorter_song_is_advised_only_where_it_would_help() -> None:
    with pytest.raises(UserError, match="lower data.max_song_seconds"):
        require_positions(row(audio_tokens=2), 8, range(4))
    with pytest.raises(UserError, match=r"5 after it\): shorten the text$"):
        require_positions(row(audio_tokens=1), 8, range(4))
    with pytest.raises(UserError, match=r"up to 2 sampled\): shorten the text or lower max_new_tokens$"):
        require_positions(row(audio_tokens=2), 9, range(4), new_tokens=2)


def test_a_row_that_does_not_say_what_it_was_made_from_is_refused_by_segment() -> None:
    with pytest.raises(UserError, match="^segment 2 of the row: expected at most 8 tokens"):
        require_positions(row(named=False), 8, range(4))


def test_a_model_reads_as_many_tokens_as_its_language_model_has_positions() -> None:
    batch = question_row([song(10.0)], QUESTIONS[:1])
    longest = batch.tree.num_tokens
    with torch.no_grad():
        assert len(limited(longest).hidden_states(batch)) == longest
    short = limited(longest - 1)
    with pytest.raises(UserError, match=f"segment 1 of the row: expected at most {longest - 1} tokens"):
        short.hidden_states(batch)
    assert short.windows_encoded == 0


@pytest.mark.parametrize("engine", [SharedEngine(), HFEngine()])
def test_an_engine_samples_as_far_as_the_positions_reach(engine: RolloutEngine) -> None:
    batch = question_row([song(10.0)], QUESTIONS[:1], answers=None)
    model, sampling = limited(batch.tree.num_tokens + 3), SamplingParameters(max_new_tokens=3, temperature=0.0)
    with torch.no_grad():
        audio = model.encode_audio(batch)
        completions = engine.sample(model, batch, audio, sampling, chat().end_of_turn)
        updated, _ = with_completions(batch, completions, model.audio_token_id)
        model.hidden_states(updated)
        with pytest.raises(UserError, match=r"up to 4 sampled\): .* or lower max_new_tokens"):
            engine.sample(model, batch, audio, SamplingParameters(max_new_tokens=4), chat().end_of_turn)


def test_a_completion_that_is_too_long_is_named_by_its_prompts_conversation() -> None:
    builder = RowBuilder(audio_token_id=99)
    builder.add([1] * 4, example={"cut": "clip-7", "conversation": {"id": "clip-7-2"}})
    tokens = torch.tensor([5, 6, 7])
    completion = Completion(0, tokens, torch.zeros(3), torch.zeros(3), finished=False)
    updated, _ = with_completions(builder.build(), [completion], 99)
    with pytest.raises(UserError, match=r"^segment 1 of the row \(cut clip-7, conversation clip-7-2\): .* got 7"):
        require_positions(updated, 6, range(2))


def test_a_song_may_have_more_tokens_than_rote_has_seconds() -> None:
    batch, model = question_row([song(50.0)], QUESTIONS[:1]), tiny_model()
    assert batch.tree.num_tokens > model.network.config.max_position_embeddings == 1200
    with torch.no_grad():
        assert model.hidden_states(batch).isfinite().all()


def test_a_text_that_is_too_long_beside_a_song_heard_by_cross_attention_is_refused_before_it_is_heard() -> None:
    model = load_model(directory("audio-flamingo-2-tiny")).eval()
    batch = asked_row("audio-flamingo-2-tiny", deaf_song=True)
    longest = max(batch.tree.path_lengths)
    limits = model.network.config.text_config
    limits.max_position_embeddings = longest
    with torch.no_grad():
        assert len(model.hidden_states(batch)) == batch.tree.num_tokens
        limits.max_position_embeddings, heard = longest - 1, model.windows_encoded
        with pytest.raises(UserError, match=rf"at most {longest - 1} tokens, .*, got {longest} .*: shorten the text$"):
            model.hidden_states(batch)
    assert model.windows_encoded == heard


def test_a_text_without_a_song_is_refused_by_its_own_length() -> None:
    model = load_model(directory("audio-flamingo-2-tiny")).eval()
    limit = model.network.config.text_config.max_position_embeddings
    builder = RowBuilder(model.audio_token_id)
    builder.add([5] * (limit + 1), train_from=1)
    with pytest.raises(UserError, match=rf"^segment 0 of the row: expected at most {limit} tokens, .*: shorten"):
        model.target_logprobs(builder.build())
