"""Audio Flamingo Next is a Music Flamingo with more positions, other rotary angles for them and 30 minutes of audio."""

import math
from pathlib import Path

import pytest
import soundfile
import torch
from transformers import (
    MusicFlamingoConfig,
    MusicFlamingoForConditionalGeneration,
    MusicFlamingoProcessor,
    WhisperFeatureExtractor,
)

from music_flamingo.batch import AudioWindows, PackedBatch, RowBuilder
from music_flamingo.corpora.song_audio import song_cut
from music_flamingo.data_modules.feature_store import FeatureStore
from music_flamingo.evaluation.ask import answer
from music_flamingo.models import CheckpointRoTE, ExactRoTE
from music_flamingo.models.conversation_format import ConversationFormat
from music_flamingo.models.model_kinds import frontend_of, load_model
from music_flamingo.models.presets import CHAT_TEMPLATE, train_tokenizer
from music_flamingo.rollout import SamplingParameters
from tests.builders import TEXTS, song

SECONDS = 1800
RATE = 1000
"""Ten mel frames a second instead of a hundred, so that a window of 30 s has 75 audio tokens and not 750."""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What transformers' converter of the published weights writes, with small layers and slow audio."""
    folder = tmp_path_factory.mktemp("audio-flamingo-next")
    extractor = WhisperFeatureExtractor(
        feature_size=8, sampling_rate=RATE, hop_length=100, n_fft=200, chunk_length=30, return_attention_mask=True
    )
    processor = MusicFlamingoProcessor(
        extractor, train_tokenizer(TEXTS, 320), chat_template=CHAT_TEMPLATE, max_audio_len=SECONDS
    )
    processor.tokenizer.model_max_length = 131_072
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = MusicFlamingoConfig(
        audio_config={"model_type": "audioflamingo3_encoder", "num_mel_bins": 8, "max_source_positions": 150, **sizes},
        text_config={
            "model_type": "qwen2",
            "vocab_size": len(processor.tokenizer),
            "max_position_embeddings": 131_072,
            "rope_theta": 15_300_000.0,
            "num_key_value_heads": 1,
            "eos_token_id": processor.tokenizer.eos_token_id,
            **sizes,
        },
        audio_token_id=processor.audio_token_id,
        audio_bos_token_id=processor.audio_bos_token_id,
        audio_eos_token_id=processor.audio_eos_token_id,
        audio_frame_step=0.1,
    )
    torch.manual_seed(0)
    MusicFlamingoForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half an hour of a gliding tone, as a file."""
    path = tmp_path_factory.mktemp("audio") / "half_an_hour.wav"
    soundfile.write(path, song(SECONDS * RATE / 16_000), RATE)
    return path


def windows_of(directory: Path, audio: Path) -> AudioWindows:
    chat = ConversationFormat.from_directory(directory)
    return FeatureStore(frontend_of(chat.processor), None, SECONDS, shorten=False).windows(song_cut(audio))


def row_of(directory: Path, audio: Path, question: str) -> PackedBatch:
    chat, windows = ConversationFormat.from_directory(directory), windows_of(directory, audio)
    row = RowBuilder(chat.processor.audio_token_id)
    root = row.add(chat.song_ids(windows), windows=windows)
    row.add(chat.question_ids(question), parent=root)
    return row.build()


@torch.no_grad()
def test_half_an_hour_is_heard_as_transformers_hears_it(directory: Path, audio: Path) -> None:
    question = "Are there drums?"
    model, batch = load_model(str(directory)).eval(), row_of(directory, audio, question)
    assert model.network.config.text_config.rope_parameters["rope_theta"] == 15_300_000.0
    assert batch.window_counts == (60,)
    assert len(batch.audio_positions) == 60 * 75
    processor = MusicFlamingoProcessor.from_pretrained(directory, local_files_only=True)
    content = [{"type": "audio"}, {"type": "text", "text": question}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(text=[text], audio=[soundfile.read(audio, dtype="float32")[0]], sampling_rate=RATE)
    assert inputs["input_ids"][0].tolist() == batch.input_ids.tolist()
    network = MusicFlamingoForConditionalGeneration.from_pretrained(directory, local_files_only=True).eval()
    expected = network.model(**inputs, use_cache=False).last_hidden_state[0]
    torch.testing.assert_close(model.hidden_states(batch), expected, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("embedding", [CheckpointRoTE(), ExactRoTE()])
@torch.no_grad()
def test_times_beyond_the_twenty_minutes_of_the_tables_are_rotated_by_the_same_rule(
    directory: Path, embedding: CheckpointRoTE | ExactRoTE
) -> None:
    """The last frame of all, by the rule in double precision: 32 channels, a fifth of them, 6, rotate on each axis."""
    body = load_model(str(directory)).network.model
    window, frame, pairs = 59, 74, 3
    seconds = 30 * window + 0.4 * frame
    hidden = torch.randn(1, 75, 32)
    turned = embedding.embed(hidden.clone(), torch.tensor([window]), body)[0, frame]
    for axis, position in enumerate((window / 1200, frame / 1200 * 2 * math.pi)):
        for pair in range(pairs):
            angle = -2 * math.pi * seconds * position * 1200 ** (-2 * pair / 6)
            first, second = (float(hidden[0, frame, 2 * (pairs * axis + pair) + side]) for side in (0, 1))
            expected = [
                first * math.cos(angle) - second * math.sin(angle),
                second * math.cos(angle) + first * math.sin(angle),
            ]
            start = 2 * (pairs * axis + pair)
            assert turned[start : start + 2].tolist() == pytest.approx(expected, abs=5e-3)


def test_half_an_hour_is_counted_and_asked_about(directory: Path, audio: Path) -> None:
    store = FeatureStore(
        frontend_of(ConversationFormat.from_directory(directory).processor), None, SECONDS, shorten=False
    )
    assert int(store.mel_lengths(song_cut(audio)).sum()) == SECONDS * 10
    said = answer(audio, "Are there drums?", directory, think=False, sampling=SamplingParameters(2, 0.0))
    assert isinstance(said, str)
