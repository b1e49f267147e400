"""Whether a folder holds what `from_pretrained` needs."""

from pathlib import Path

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
