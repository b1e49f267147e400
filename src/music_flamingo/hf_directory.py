"""A model with its processor and card as a directory that transformers loads, there whole or not at all."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoProcessor

from music_flamingo.model_cards.model_card import CardFacts, write_card
from music_flamingo.models import AFClap, MusicLanguageModel
from music_flamingo.models.lora import merged_weights
from music_flamingo.models.model_directory import require_model_directory


def replace_hf_directory(
    directory: Path,
    model: MusicLanguageModel | AFClap,
    processor: str,
    state: Mapping[str, Tensor] | None = None,
    card: CardFacts | None = None,
) -> None:
    """Write a model as a directory, in place of what is there.

    Args:
        directory: to write.
        model: whose network to write.
        processor: directory with the processor.
        state: weights of the network, where they are divided over ranks; None takes its own.
        card: what the model card says; None writes none.
    """
    partial = directory.with_name(f"{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    fill_hf_directory(partial, model, processor, state, card)
    if directory.exists():
        shutil.rmtree(directory)
    partial.replace(directory)


def fill_hf_directory(
    folder: Path,
    model: MusicLanguageModel | AFClap,
    processor: str,
    state: Mapping[str, Tensor] | None = None,
    card: CardFacts | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Put weights, adapters merged into them, configuration, processor and card into a folder.

    Args:
        folder: to fill.
        model: whose network to write.
        processor: directory with the processor.
        state: weights of the network, where they are divided over ranks; None takes its own.
        card: what the model card says; None writes none.
        dtype: that weights are rounded to, the model's too, once adapters are merged; None leaves them as they are.

    Raises:
        UserError: `processor` has none.
        OSError: there is no room.
    """
    require_model_directory(processor)
    weights = merged_weights(model.network, state)
    if dtype is not None:
        weights = _rounded(weights, dtype)
        network: nn.Module = model.network
        network.to(dtype)  # which the configuration says
    try:
        model.network.save_pretrained(folder, state_dict=weights)
    except SafetensorError as error:
        raise OSError(None, str(error)) from error
    AutoProcessor.from_pretrained(processor, local_files_only=True).save_pretrained(folder)
    if card is not None:
        write_card(folder, card)


def _rounded(weights: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Weights in another dtype; those that are one tensor stay one, or they would be written twice."""
    places = {name: (each.data_ptr(), each.shape) for name, each in weights.items()}
    rounded = {places[name]: each.to(dtype) if each.is_floating_point() else each for name, each in weights.items()}
    return {name: rounded[place] for name, place in places.items()}
