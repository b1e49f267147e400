"""Models at their published sizes to start training from: of trained parts, and untrained in all else.

A part is a Hugging Face directory on this machine, as it is published. Its weights keep their dtype, which all of the
model takes.
"""

import re
from pathlib import Path
from typing import Any

from tokenizers import AddedToken
from transformers import (
    AudioFlamingo3Config,
    AudioFlamingo3ForConditionalGeneration,
    AutoModelForCausalLM,
    AutoProcessor,
    AutoTokenizer,
    LlamaConfig,
    MusicFlamingoConfig,
    MusicFlamingoForConditionalGeneration,
    MusicFlamingoProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    T5Config,
    T5EncoderModel,
)

from music_flamingo.errors import UserError
from music_flamingo.models.audio_flamingo_2 import (
    AFClapConfig,
    AFClapFeatureExtractor,
    AFClapModel,
    AFClapProcessor,
    AudioFlamingo2Config,
    AudioFlamingo2ForConditionalGeneration,
    AudioFlamingo2Processor,
)
from music_flamingo.models.audio_flamingo_2.configuration import HTSAT_LARGE
from music_flamingo.models.audio_flamingo_2.published_processor import ADDED
from music_flamingo.models.audio_flamingo_2.published_processor import published_processor as audio_flamingo_2_processor
from music_flamingo.models.converting import KINDS
from music_flamingo.models.matpac import MatpacConfig, MatpacModel
from music_flamingo.models.model_directory import require_model_directory
from music_flamingo.models.published_tokenizer import published_tokenizer
from music_flamingo.models.tinymu import TinyMUConfig, TinyMUForConditionalGeneration, TinyMUProcessor
from music_flamingo.models.tinymu.published_processor import published_processor as tinymu_processor

SOUND_BORDERS = ("<|sound_bos|>", "<|sound_eos|>")
"""What Music Flamingo's texts have around the embeddings of a song, and Audio Flamingo 3's have not."""


def music_flamingo(audio_flamingo_3: Path) -> tuple[MusicFlamingoForConditionalGeneration, MusicFlamingoProcessor]:
    """All weights of an Audio Flamingo 3. RoTE, which it was trained without, has none; two new tokens are untrained.

    These take embedding rows that the language model has to spare, or new ones.

    Raises:
        UserError: `audio_flamingo_3` holds none, or no processor.
    """
    require_model_directory(audio_flamingo_3)
    part = _part("audio_flamingo_3", audio_flamingo_3, AudioFlamingo3Config, AudioFlamingo3ForConditionalGeneration)
    theirs = AutoProcessor.from_pretrained(audio_flamingo_3, local_files_only=True)
    tokenizer = theirs.tokenizer
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in SOUND_BORDERS], special_tokens=True)
    if len(tokenizer) > part.config.text_config.vocab_size:
        part.resize_token_embeddings(len(tokenizer))
    processor = MusicFlamingoProcessor(theirs.feature_extractor, tokenizer, chat_template=theirs.chat_template)
    config = MusicFlamingoConfig(
        audio_config=part.config.audio_config.to_dict(),
        text_config=part.config.text_config.to_dict(),
        audio_token_id=processor.audio_token_id,
        audio_bos_token_id=processor.audio_bos_token_id,
        audio_eos_token_id=processor.audio_eos_token_id,
    )
    network = _untrained(MusicFlamingoForConditionalGeneration, config, part)
    network.load_state_dict(part.state_dict(), assign=True)
    return network, processor


def audio_flamingo_2(language_model: Path) -> tuple[AudioFlamingo2ForConditionalGeneration, AudioFlamingo2Processor]:
    """A Qwen2.5 behind closed gates; AF-CLAP, transform and cross-attention are untrained.

    Its special tokens take embedding rows that the language model has to spare, or new ones.

    Raises:
        UserError: `language_model` holds none, or no tokenizer.
    """
    tokenizer = published_tokenizer(language_model)
    part = _part("language_model", language_model, Qwen2Config, AutoModelForCausalLM)
    new_tokens = sum(tokenizer.token_to_id(token) is None for token in ADDED)
    num_tokens = tokenizer.get_vocab_size() + new_tokens
    if num_tokens > part.config.vocab_size:
        part.resize_token_embeddings(num_tokens)
    config = AudioFlamingo2Config(
        audio_config=dict(HTSAT_LARGE),
        text_config=part.config.to_dict(),
        tie_word_embeddings=part.config.tie_word_embeddings,
    )
    extractor = KINDS["audio_flamingo_2"].feature_extractor(config)
    processor = audio_flamingo_2_processor(config, extractor, tokenizer)  # tells the configuration the tokens' ids
    network = _untrained(AudioFlamingo2ForConditionalGeneration, config, part)
    weights = {
        re.sub(r"^layers\.(\d+)\.", r"layers.\1.decoder_layer.", name): each
        for name, each in part.model.state_dict().items()
    }
    network.model.language_model.load_state_dict(weights, strict=False, assign=True)
    network.lm_head = part.lm_head
    network.tie_weights()
    return network, processor


def af_clap(text_encoder: Path) -> tuple[AFClapModel, AFClapProcessor]:
    """The encoder of a Flan-T5 with its tokenizer; the audio tower and both projections are untrained.

    Raises:
        UserError: `text_encoder` holds none, or no tokenizer.
    """
    part = _part("text_encoder", text_encoder, T5Config, T5EncoderModel)
    config = AFClapConfig(audio_config=dict(HTSAT_LARGE), text_config=part.config.to_dict())
    if not (text_encoder / "tokenizer.json").is_file():
        raise UserError(f"text_encoder: expected a tokenizer too, but {text_encoder / 'tokenizer.json'} does not exist")
    tokenizer = AutoTokenizer.from_pretrained(text_encoder, local_files_only=True)
    network = _untrained(AFClapModel, config, part)
    network.text_tower = part
    return network, AFClapProcessor(AFClapFeatureExtractor(), tokenizer)


def tinymu(language_model: Path, audio_encoder: Path) -> tuple[TinyMUForConditionalGeneration, TinyMUProcessor]:
    """A SmolLM2 and a MATPAC++ as `music-flamingo convert matpac` makes it; the projector is untrained.

    Raises:
        UserError: either holds none, or `language_model` no tokenizer with the tokens that TinyMU needs.
    """
    tokenizer = published_tokenizer(language_model)
    part = _part("language_model", language_model, LlamaConfig, AutoModelForCausalLM)
    encoder = _part("audio_encoder", audio_encoder, MatpacConfig, MatpacModel)
    config = TinyMUConfig(
        audio_config=encoder.config.to_dict(),
        text_config=part.config.to_dict(),
        tie_word_embeddings=part.config.tie_word_embeddings,
    )
    extractor = KINDS["tinymu"].feature_extractor(config)
    processor = tinymu_processor(config, extractor, tokenizer, layout="compact")
    network = _untrained(TinyMUForConditionalGeneration, config, part)
    network.model.language_model, network.lm_head = part.model, part.lm_head
    network.model.audio_tower = encoder.to(part.dtype)
    return network, processor


def _part(option: str, directory: Path, kind: type[PreTrainedConfig], model: Any) -> Any:
    """A model with the weights of a directory, as `option` gives it."""
    path = directory / "config.json"
    if not path.is_file():
        raise UserError(f"{option}: expected a Hugging Face directory, but {path} does not exist: download one")
    found = PreTrainedConfig.get_config_dict(directory, local_files_only=True)[0].get("model_type")
    if found != kind.model_type:
        raise UserError(f"{option}: expected a {kind.model_type} in {directory}, got {found!r}: give another directory")
    try:
        loaded: PreTrainedModel = model.from_pretrained(
            directory, local_files_only=True, use_safetensors=True, dtype="auto"
        )
    except OSError as error:
        said = str(error).splitlines()[0]
        raise UserError(f"{option}: expected weights as .safetensors in {directory}, got {said}") from error
    return loaded


def _untrained(model: Any, config: PreTrainedConfig, part: PreTrainedModel) -> Any:
    """A model of random weights, in the dtype of its trained part."""
    return model._from_config(config, dtype=part.dtype)
