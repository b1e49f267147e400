"""Whether a folder holds what `from_pretrained` needs, and of which kind."""

from pathlib import Path

from transformers import PreTrainedConfig

from music_flamingo.errors import UserError


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


def require_model_kind(directory: str | Path, kind: type[PreTrainedConfig]) -> None:
    """Raise a UserError unless `directory` holds a model whose configuration is of the class `kind`, with processor."""
    require_model_directory(directory)
    found = PreTrainedConfig.get_config_dict(directory, local_files_only=True)[0].get("model_type")
    if found != kind.model_type:
        raise UserError(
            f"{directory}: expected a model of the kind {kind.model_type!r} (model_type in config.json), got "
            f"{found!r}: give another directory, or name the class of this kind"
        )
