from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import MusicFlamingoConfig

from music_flamingo.batch import RowBuilder
from music_flamingo.kernels.linear_cross_entropy import token_logprobs
from music_flamingo.models.cost_model import Flops, Workload, row_workload, song_workload
from music_flamingo.models.music_flamingo_cost import MusicFlamingoCost
from tests.builders import ANSWERS, QUESTIONS, chat, frontend, full_size_config, question_row, song, tiny_model
from tests.models.attention_by_definition import AttentionByDefinition

CAPTION, OTHER_TEXT = 600, 40


def toy_cost_model() -> MusicFlamingoCost:
    audio = {"num_mel_bins": 2, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1}
    text = {"vocab_size": 7, "hidden_size": 6, "intermediate_size": 10, "num_hidden_layers": 2}
    return MusicFlamingoCost(
        MusicFlamingoConfig(
            audio_config={
                **audio,
                "model_type": "audioflamingo3_encoder",
                "intermediate_size": 8,
                "max_source_positions": 3,
            },
            text_config={**text, "model_type": "qwen2", "num_attention_heads": 2, "num_key_value_heads": 1},
        )
    )


def full_windows(minutes: float, branches: list[tuple[int, int]]) -> Workload:
    """A song of 30 s windows, 750 tokens each, and what is asked about it."""
    windows = torch.full((int(2 * minutes),), 3000)
    return song_workload(windows, 750 * len(windows), 0, branches)


def read_by_all(work: Workload) -> Workload:
    """The same, all layers alike as transformers computes it."""
    return replace(work, read_tokens=work.tokens, seen_by_read_tokens=work.seen_tokens)


def captioned(minutes: float) -> Workload:
    return read_by_all(full_windows(minutes, [(OTHER_TEXT, CAPTION)]))


def full_size_step(work: Workload) -> float:
    """Forward and backward with a frozen encoder."""
    flops = MusicFlamingoCost(full_size_config()).flops(work)
    return flops.training(encoder=False, projector=True, language_model=True)


def test_a_song_with_a_question_by_hand() -> None:
    # Root: 2 of text and 3 of audio. Branch: prompt of 2, answer of 2, predicted from the branch's second and third.
    work = song_workload(torch.tensor([12]), 3, 2, [(2, 2)])
    assert work == Workload(
        songs=((12,),),
        audio_tokens=3,
        tokens=9,
        seen_tokens=(1 + 2 + 3 + 4 + 5) + (6 + 7 + 8 + 9),
        read_tokens=2,
        seen_by_read_tokens=7 + 8,
        targets=2,
        song_tokens=(9,),
    )


def test_a_toy_model_by_hand() -> None:
    flops = toy_cost_model().flops(Workload(((6,),), 3, 9, 45, 2, 15, 2))
    convolutions = 2 * 6 * 3 * 2 * 4 + 2 * 3 * 3 * 4 * 4
    projections = 4 * (2 * 3 * 4 * 4)
    feed_forward = 2 * (2 * 3 * 4 * 8)
    attention = 2 * (2 * 3 * 3 * 4)
    assert flops.encoder == convolutions + projections + feed_forward + attention
    assert flops.projector == 3 * (2 * 4 * 6 + 2 * 6 * 6)
    key_and_value, query_and_output, gated = 2 * (2 * 6 * 3), 2 * (2 * 6 * 6), 3 * (2 * 6 * 10)
    first = 9 * (key_and_value + query_and_output + gated) + 45 * 2 * (2 * 2 * 3)
    last = 9 * key_and_value + 2 * (query_and_output + gated) + 15 * 2 * (2 * 2 * 3)
    assert flops.language_model == first + last + 2 * (2 * 6 * 7)


@pytest.mark.parametrize(
    ("trained", "expected"),
    [
        ((False, False, False), 1 + 10 + 100),
        ((False, False, True), 1 + 10 + 300),
        ((False, True, True), 1 + 30 + 300),
        ((False, True, False), 1 + 30 + 200),
        ((True, False, False), 3 + 20 + 200),
        ((True, True, True), 3 + 30 + 300),
    ],
)
def test_trained_parts_cost_two_more_passes_and_frozen_ones_above_them_one(
    trained: tuple[bool, bool, bool], expected: int
) -> None:
    encoder, projector, language_model = trained
    flops = Flops(1, 10, 100)
    assert flops.training(encoder=encoder, projector=projector, language_model=language_model) == expected


def test_music_flamingo_at_its_full_size() -> None:
    cost_model = MusicFlamingoCost(full_size_config())
    window = cost_model.flops(Workload(songs=((3000,),))).encoder
    assert window == pytest.approx(2.27e12, rel=0.003)
    assert 32 * 4 * 1500**2 * 1280 / window == pytest.approx(0.16, abs=0.005)
    assert cost_model.flops(Workload(tokens=1, read_tokens=1)).language_model == pytest.approx(13.05e9, rel=0.001)
    assert cost_model.flops(Workload(targets=1)).language_model == pytest.approx(1.09e9, rel=0.001)
    squared = cost_model.flops(Workload(seen_tokens=1, seen_by_read_tokens=1)).language_model / 2
    assert squared == pytest.approx(200.7e3, rel=0.001)


@pytest.mark.parametrize(
    ("minutes", "language_model", "whole"), [(0.5, 18.5, 59.9), (4, 95.5, 307), (10, 253, 809), (20, 588, 1861)]
)
def test_a_training_step_on_one_captioned_song_at_full_size(
    minutes: float, language_model: float, whole: float
) -> None:
    cost_model = MusicFlamingoCost(full_size_config())
    layers = cost_model.flops(replace(captioned(minutes), targets=0)).language_model
    assert layers / 1e12 == pytest.approx(language_model, rel=0.004)
    assert full_size_step(captioned(minutes)) / 1e12 == pytest.approx(whole, rel=0.004)


@pytest.mark.parametrize("minutes", [4, 10, 20])
def test_a_last_layer_computed_only_where_it_is_read_saves_three_percent_of_a_step(minutes: int) -> None:
    read = full_windows(minutes, [(OTHER_TEXT, CAPTION)])
    saved = 1 - full_size_step(read) / full_size_step(captioned(minutes))
    assert 0.0295 < saved < 0.0335


@pytest.mark.parametrize(("minutes", "ratio"), [(0.5, 5.8), (4, 9.0), (10, 9.5), (20, 9.7)])
def test_ten_questions_on_one_song_cost_a_fraction_of_ten_rows(minutes: float, ratio: float) -> None:
    def step(questions: int) -> float:
        return full_size_step(read_by_all(full_windows(minutes, [(40, 30)] * questions)))

    assert 10 * step(1) / step(10) == pytest.approx(ratio, rel=0.02)


def test_rows_of_songs_cost_the_sum_of_their_songs_and_no_more() -> None:
    lengths = [10.0, 23.4]
    row = question_row([song(seconds) for seconds in lengths])
    form = chat()
    branches = [(len(form.question_ids(q)), len(form.answer_ids(a))) for q, a in zip(QUESTIONS, ANSWERS, strict=True)]
    songs = []
    for seconds in lengths:
        mel_lengths = frontend().mel_lengths(round(16_000 * seconds))
        audio_tokens = int(frontend().token_lengths(mel_lengths).sum())
        songs.append(song_workload(mel_lengths, audio_tokens, form.tokens_around_audio(), branches))
    assert songs[0] + songs[1] == row_workload(row)


def test_a_token_from_which_several_completions_go_on_is_read_once() -> None:
    row = RowBuilder(audio_token_id=9)
    prompt = row.add([1, 2, 3])
    for _ in range(4):
        row.add([4, 5], parent=prompt, train_from=0)
    work = row_workload(row.build())
    assert (work.targets, work.read_tokens) == (8, 5)
    assert work.seen_by_read_tokens == 3 + 4 * 4
    assert work.seen_tokens == 1 + 2 + 3 + 4 * (4 + 5)


@pytest.mark.parametrize("seconds", [0.05, 9.99, 10.0, 10.02, 10.05, 13.337])
def test_windows_are_known_before_the_audio_is(seconds: float) -> None:
    waveform = song(seconds)
    assert torch.equal(frontend().mel_lengths(len(waveform)), frontend()(waveform).lengths)


def test_a_tiny_model_computes_as_many_flops_as_counted() -> None:
    model, row = tiny_model(), question_row([song(2.0), song(1.3, 1)])
    model.network.model.audio_tower.set_attn_implementation("eager")  # torch does not count its fused form on a CPU
    read, index = row.targets.positions.unique(return_inverse=True)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        hidden = model.hidden_states(row, attend=AttentionByDefinition(row, read), rows=read)[index]
        token_logprobs(hidden, model.head_weight, row.targets.token_ids)
    counted = MusicFlamingoCost(model.network.config).flops(row_workload(row)).forward
    # The convolutions look a frame further than the layers.
    assert counter.get_total_flops() == pytest.approx(counted, rel=0.01)
