"""AF-CLAP's processor: mel windows of clips, tokens of captions."""

from typing import Any

from transformers import ProcessorMixin


class AFClapProcessor(ProcessorMixin):
    """Keeps together what AF-CLAP's two towers read with.

    Args:
        feature_extractor: AF-CLAP's.
        tokenizer: of the text tower, with a `pad_token`.
    """

    def __init__(self, feature_extractor: Any, tokenizer: Any) -> None:
        super().__init__(feature_extractor, tokenizer)
