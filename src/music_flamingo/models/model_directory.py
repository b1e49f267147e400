"""What a Hugging Face directory has to hold, and how its weights are loaded."""

import logging
from pathlib import Path
from typing import TypeVar, cast

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from music_flamingo.errors import UserError

# transformers imports deepspeed where it is installed, which warns that a machine without a GPU has none.
logging.getLogger("DeepSpeed").addFilter(lambda record: "Setting accelerator to CPU" not in record.getMessage())

Network = TypeVar("Network", bound=PreTrainedModel)


def require_model_directory(directory: str | Path) -> None:
    """Raise a UserError unless `directory` looks like an exported model with its processor."""
    for name, content in (
        ("config.json", "a model configuration"),
        ("tokenizer_config.json", "a tokenizer"),
        ("processor_config.json", "a processor"),
    ):
        if not (Path(directory) / name).is_file():
            raise UserError(
                f"expected a model directory with {content}, but {Path(directory) / name} does not exist: "
                "give the export/ folder of a finished stage or a downloaded Hugging Face directory"
            )


def load_weights(kind: type[Network], directory: str | Path) -> Network:
    """The model of a Hugging Face directory, in float32 whatever the dtype of its files.

    AdamW's small steps are lost to rounding in bfloat16, in which weights are published. Mixed precision rounds what it
    multiplies and nothing else.

    Raises:
        UserError: the directory lacks a model of this kind, or its processor.
    """
    _require_kind(directory, cast(type[PreTrainedConfig], kind.config_class))
    return kind.from_pretrained(directory, local_files_only=True, dtype=torch.float32)


def _require_kind(directory: str | Path, kind: type[PreTrainedConfig]) -> None:
    """Raise a UserError unless `directory` holds a model whose configuration is of the class `kind`, with processor."""
    require_model_directory(directory)
    found = PreTrainedConfig.get_config_dict(directory, local_files_only=True)[0].get("model_type")
    if found != kind.model_type:
        raise UserError(
            f"{directory}: expected a model of the kind {kind.model_type!r} (model_type in config.json), got "
            f"{found!r}: give another directory, or name the class of this kind"
        )
