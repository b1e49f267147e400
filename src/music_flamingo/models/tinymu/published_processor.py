"""TinyMU's processor, around the tokenizer of the SmolLM2 that its checkpoint was made of."""

from typing import Any, Literal

from tokenizers import Tokenizer

from music_flamingo.models.published_tokenizer import require_rows, require_tokens, with_tokens
from music_flamingo.models.tinymu.configuration import TinyMUConfig
from music_flamingo.models.tinymu.processor import AUDIO_TOKEN, TinyMUProcessor

END, PADDING = "<|endoftext|>", "!"


def published_processor(
    config: TinyMUConfig,
    feature_extractor: Any,
    tokenizer: Tokenizer,
    layout: Literal["compact", "released"] = "released",
) -> TinyMUProcessor:
    """In the layout of the released weights, or another one. The configuration is told the tokens' ids.

    Raises:
        UserError: a token is missing, or there are more tokens than embedding rows.
    """
    require_tokens(tokenizer, (END, AUDIO_TOKEN, PADDING))
    complete = with_tokens(tokenizer, (), END, END)
    require_rows(complete, config.text_config.vocab_size)
    processor = TinyMUProcessor(feature_extractor, complete, layout=layout, padding_token=PADDING)
    config.audio_token_id, config.separator_token_id = processor.audio_token_id, processor.audio_eos_token_id
    config.text_config.eos_token_id = complete.eos_token_id
    return processor
