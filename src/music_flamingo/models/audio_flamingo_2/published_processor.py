"""Audio Flamingo 2's processor, around the tokenizer of the Qwen2.5 that its checkpoint was made of."""

from tokenizers import Tokenizer, normalizers

from music_flamingo.models.audio_flamingo_2.configuration import AudioFlamingo2Config
from music_flamingo.models.audio_flamingo_2.features import AFClapFeatureExtractor
from music_flamingo.models.audio_flamingo_2.processor import (
    AUDIO_TOKEN,
    END_OF_ANSWER,
    SEPARATOR,
    AudioFlamingo2Processor,
)
from music_flamingo.models.published_tokenizer import require_rows, with_tokens

PADDING = "<|PAD_TOKEN|>"
ADDED = (AUDIO_TOKEN, END_OF_ANSWER, PADDING, SEPARATOR)
"""In the order of their embedding rows, behind those of Qwen2.5."""


def published_processor(
    config: AudioFlamingo2Config, feature_extractor: AFClapFeatureExtractor, tokenizer: Tokenizer
) -> AudioFlamingo2Processor:
    """Everything is written in small letters. The configuration is told the tokens' ids.

    Raises:
        UserError: there are more tokens than embedding rows.
    """
    small = normalizers.Lowercase()
    before = tokenizer.normalizer
    tokenizer.normalizer = small if before is None else normalizers.Sequence([before, small])
    complete = with_tokens(tokenizer, ADDED, END_OF_ANSWER, PADDING)
    require_rows(complete, config.text_config.vocab_size)
    longest = feature_extractor.max_windows * feature_extractor.chunk_length
    processor = AudioFlamingo2Processor(feature_extractor, complete, max_audio_len=longest)
    config.audio_token_id = processor.audio_token_id
    for part in (config, config.text_config):
        part.eos_token_id, part.pad_token_id = complete.eos_token_id, complete.pad_token_id
    return processor
