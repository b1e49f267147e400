"""AF-CLAP on packed rows, its preset, and its encoder in Audio Flamingo 2."""

from pathlib import Path

import pytest
import torch
from transformers import AutoFeatureExtractor, AutoModel, AutoProcessor

from music_flamingo.batch import RowBuilder
from music_flamingo.errors import UserError
from music_flamingo.hf_directory import replace_hf_directory
from music_flamingo.models import AFClap, AudioFlamingo2, EncoderCache
from music_flamingo.models.audio_flamingo_2 import AFClapFeatureExtractor, AFClapModel
from music_flamingo.models.audio_flamingo_2.frontend import AFClapFrontend
from music_flamingo.new_model import init_command
from tests.builders import song, write_corpus
from tests.clap_builders import CAPTIONS, clap_directory, flamingo_directory, preset_directory

SONGS = [song(10.0, 0), song(25.0, 1), song(3.0, 2)]


def model() -> AFClap:
    return AFClap(clap_directory()).eval()


@torch.no_grad()
def test_songs_are_means_of_their_windows_by_what_each_holds() -> None:
    extractor, clap = AFClapFeatureExtractor(), model()
    frontend = AFClapFrontend(extractor)
    row = RowBuilder(7)
    for waveform in SONGS:
        row.add([7], windows=frontend.windows_of([waveform], 3))
    found = clap.embed_songs(row.build())
    for vector, waveform in zip(found, SONGS, strict=True):
        windows = extractor(waveform, 16_000)["input_features"]
        seconds = torch.tensor([10.0, 10.0, 5.0] if len(windows) == 3 else [1.0])
        mean = (clap.network.embed_audio(windows) * seconds[:, None]).sum(0)
        torch.testing.assert_close(vector, mean / mean.norm(), rtol=1e-4, atol=1e-5)
    assert clap.windows_encoded == 5
    assert clap.windows_with_gradient == 0


@torch.no_grad()
def test_a_frozen_encoder_that_keeps_its_outputs_encodes_a_window_once(tmp_path: Path) -> None:
    kept, plain = AFClap(clap_directory(), EncoderCache(str(tmp_path), "float32")).eval(), model()
    kept.network.audio_tower.requires_grad_(False)
    encoded: list[int] = []
    kept.network.audio_tower.register_forward_hook(lambda *_: encoded.append(1))
    frontend = AFClapFrontend(AFClapFeatureExtractor())
    row = RowBuilder(7)
    for waveform in SONGS:
        row.add([7], windows=frontend.windows_of([waveform], 3))
    for _ in range(2):
        torch.testing.assert_close(kept.embed_songs(row.build()), plain.embed_songs(row.build()), rtol=1e-4, atol=1e-5)
    assert len(encoded) == kept.windows_encoded / 2 == 5


@torch.no_grad()
def test_texts_are_read_one_beside_another_as_alone_and_in_any_case() -> None:
    clap = model()
    together = clap.embed_texts([CAPTIONS[0], "the flute", CAPTIONS[1].upper()])
    for vector, text in zip(together, [CAPTIONS[0], "the flute", CAPTIONS[1]], strict=True):
        torch.testing.assert_close(vector, clap.embed_texts([text])[0], rtol=1e-4, atol=1e-5)


def test_a_row_with_a_text_that_has_no_audio_is_refused() -> None:
    row = RowBuilder(7)
    row.add([1, 2])
    with pytest.raises(UserError, match="every cut of the corpus must have a recording"):
        model().embed_songs(row.build())


def test_another_kind_of_model_is_refused() -> None:
    with pytest.raises(
        UserError, match="expected a model of the kind 'af_clap' .*, got 'audio_flamingo_2': give another"
    ):
        AFClap(flamingo_directory())


def test_init_makes_an_af_clap_whose_tokenizer_knows_the_words_of_captions(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", train=4, held_out=1)
    init_command(tmp_path / "clap", corpus, "af-clap-tiny")
    clap = AFClap(str(tmp_path / "clap"))
    words = {word for caption in CAPTIONS for word in caption.split() if word.isalpha()}
    assert {word for word in words if len(clap.tokenizer.tokenize(f" {word}")) > 1} == set()
    assert clap.tokenizer.pad_token_id == clap.network.config.text_config.pad_token_id == 0


@torch.no_grad()
def test_what_is_exported_is_an_af_clap_again(tmp_path: Path) -> None:
    clap = model()
    clap.network.log_scale.fill_(1.25)
    replace_hf_directory(tmp_path / "export", clap, clap_directory())
    loaded = AutoModel.from_pretrained(tmp_path / "export")
    assert isinstance(loaded, AFClapModel)
    assert loaded.log_scale == 1.25
    assert AutoProcessor.from_pretrained(tmp_path / "export").tokenizer.pad_token == "<pad>"
    assert isinstance(AutoFeatureExtractor.from_pretrained(tmp_path / "export"), AFClapFeatureExtractor)


def test_audio_flamingo_2_takes_the_encoder_of_an_af_clap() -> None:
    plain = AudioFlamingo2(flamingo_directory())
    directory = preset_directory("af-clap-tiny")
    model = AudioFlamingo2(flamingo_directory(), clap=directory)
    trained = AFClap(directory).network.audio_tower.state_dict()
    found = model.network.model.audio_tower.state_dict()
    assert all(torch.equal(found[name], each) for name, each in trained.items())
    others = {name: each for name, each in plain.state_dict().items() if "audio_tower" not in name}
    assert all(torch.equal(model.state_dict()[name], each) for name, each in others.items())
    assert not torch.equal(
        plain.network.model.audio_tower.audio_encoder.patch_embed.proj.weight,
        trained["audio_encoder.patch_embed.proj.weight"],
    )


def test_an_encoder_of_other_sizes_is_refused_with_both_directories() -> None:
    with pytest.raises(UserError, match=r"clap: expected an encoder of the sizes in .*tiny, .* got .* in .*clap: give"):
        AudioFlamingo2(flamingo_directory(), clap=clap_directory())


@torch.no_grad()
def test_an_untrained_preset_tells_texts_of_the_same_words_in_another_order_apart() -> None:
    clap = AFClap(preset_directory("af-clap-tiny")).eval()
    texts = ["the flute enters before the violin .", "the violin enters before the flute ."]
    with_positions = float((clap.embed_texts(texts)).diff(dim=0).norm())
    (first, *_) = clap.network.text_tower.encoder.block
    first.layer[0].SelfAttention.relative_attention_bias.weight.zero_()
    bag_of_words = float((clap.embed_texts(texts)).diff(dim=0).norm())
    assert bag_of_words < 1e-5
    assert with_positions > 1e-2
