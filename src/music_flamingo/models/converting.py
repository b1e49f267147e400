"""`music-flamingo convert`: a published checkpoint as a Hugging Face directory that `from_pretrained` loads.

Sizes are read off the tensors. Nothing is missing and nothing is left over, but tensors that the model is known not to
use, which are named.
"""

import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedModel, ProcessorMixin
from transformers.initialization import no_init_weights
from transformers.utils.logging import disable_progress_bar

from music_flamingo.errors import UserError
from music_flamingo.model_cards.carried_licence import read_start
from music_flamingo.model_cards.model_card import CardFacts, network_facts, write_card
from music_flamingo.models.audio_flamingo_2 import AFClapFeatureExtractor, AudioFlamingo2ForConditionalGeneration
from music_flamingo.models.audio_flamingo_2 import published as audio_flamingo_2
from music_flamingo.models.audio_flamingo_2.published_processor import (
    published_processor as audio_flamingo_2_processor,
)
from music_flamingo.models.matpac import MatpacConfig, MatpacFeatureExtractor, MatpacModel
from music_flamingo.models.matpac import published as matpac
from music_flamingo.models.published_files import published_tensors
from music_flamingo.models.published_names import first_names
from music_flamingo.models.published_sizes import Converted, HeadWidths
from music_flamingo.models.published_tokenizer import published_tokenizer
from music_flamingo.models.tinymu import TinyMUForConditionalGeneration
from music_flamingo.models.tinymu import published as tinymu
from music_flamingo.models.tinymu.published_processor import published_processor as tinymu_processor
from music_flamingo.whole_files import new_folder


@dataclass(frozen=True)
class Kind:
    """What published checkpoints of one system become.

    Attributes:
        model: of transformers' kind.
        converted: sizes and renamed tensors of a checkpoint.
        feature_extractor: for a configuration of the model.
        options: of the command that say something about it.
        processor: of a configuration, which is told the tokens' ids, the feature extractor and a tokenizer; None for a
            model without text.
    """

    model: type[PreTrainedModel]
    converted: Callable[[Mapping[str, Tensor], HeadWidths], Converted]
    feature_extractor: Callable[[Any], Any]
    options: tuple[str, ...]
    processor: Callable[[Any, Any, Tokenizer], Any] | None = None


def matpac_features(config: MatpacConfig) -> MatpacFeatureExtractor:
    """What cuts songs into the windows of an encoder."""
    return MatpacFeatureExtractor(
        config.num_mel_bins, window_frames=config.window_frames, patch_frames=config.patch_size
    )


KINDS = {
    "matpac": Kind(MatpacModel, matpac.converted, matpac_features, ("audio_head_dim",)),
    "tinymu": Kind(
        TinyMUForConditionalGeneration,
        tinymu.converted,
        lambda config: matpac_features(config.audio_config),
        ("audio_head_dim", "text_head_dim", "tokenizer"),
        tinymu_processor,
    ),
    "audio_flamingo_2": Kind(
        AudioFlamingo2ForConditionalGeneration,
        audio_flamingo_2.converted,
        lambda config: AFClapFeatureExtractor(config.audio_config.num_mel_bins, max_windows=config.max_windows),
        ("audio_head_dim", "text_head_dim", "clap", "tokenizer"),
        audio_flamingo_2_processor,
    ),
}


def convert_command(  # noqa: PLR0913 - one option each
    kind: str,
    src: Path,
    out: Path,
    *,
    clap: Path | None = None,
    tokenizer: Path | None = None,
    audio_head_dim: int | None = None,
    text_head_dim: int | None = None,
) -> None:
    """Make a Hugging Face directory of a published checkpoint.

    Args:
        kind: matpac, tinymu or audio_flamingo_2.
        src: .safetensors, .pt, .pth or .bin, or a folder of .safetensors that belong together.
        out: folder to make.
        clap: AF-CLAP's own checkpoint, where that of audio_flamingo_2 is without it.
        tokenizer: folder with the tokenizer.json of the checkpoint's language model, SmolLM2 or Qwen2.5: makes the
            processor, without which a model cannot be asked or trained.
        audio_head_dim: width of attention heads where audio is heard, where it is not the published one: 64 in
            MATPAC++, 256 between AF-CLAP and the language model.
        text_head_dim: the same in the language model: 64 in SmolLM2, 128 in Qwen2.5 of 3 billion parameters.
    """
    disable_progress_bar()
    if kind not in KINDS:
        raise UserError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    options = {"clap": clap, "tokenizer": tokenizer, "audio_head_dim": audio_head_dim, "text_head_dim": text_head_dim}
    for name, value in options.items():
        if value is not None and name not in KINDS[kind].options:
            raise UserError(f"{name}: {kind} has no such part: leave it out")
        if isinstance(value, int) and value < 1:
            raise UserError(f"{name}: expected at least 1, got {value}")
    with new_folder(out) as folder:
        published = published_tensors(src)
        if clap is not None:
            published = with_clap(published, clap)
        with _naming(src):
            converted = KINDS[kind].converted(published, HeadWidths(audio_head_dim, text_head_dim))
        processor = processor_of(KINDS[kind], converted.config, tokenizer)
        with _naming(src):
            model = filled(KINDS[kind].model, converted)
        write(model, processor, folder)
        write_card(folder, card(model, processor, out, [path for path in (src, clap) if path is not None]))
    print(summary(model, converted, processor, out))


def processor_of(kind: Kind, config: Any, tokenizer: Path | None) -> Any:
    """What makes a model's inputs: its processor, or where no tokenizer is given its feature extractor alone.

    Raises:
        UserError: the tokenizer cannot be read, or is not the checkpoint's.
    """
    feature_extractor = kind.feature_extractor(config)
    if kind.processor is None or tokenizer is None:
        return feature_extractor
    return kind.processor(config, feature_extractor, published_tokenizer(tokenizer))


def with_clap(published: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """A checkpoint of Audio Flamingo 2 with the audio branch of another file.

    Raises:
        UserError: it has one itself, or the file has none.
    """
    if any(name.startswith("clap.") for name in published):
        raise UserError("clap: expected a checkpoint without AF-CLAP's tensors, got one with them: leave it out")
    with _naming(path):
        return {**published, **audio_flamingo_2.clap_branch(published_tensors(path))}


def filled(kind: type[PreTrainedModel], converted: Converted) -> PreTrainedModel:
    """A model that holds the tensors themselves, not copies; where they are of several dtypes, the one that fits all.

    Raises:
        UserError: the sizes do not fit together, or a tensor is missing, left over, or of another shape.
    """
    try:
        with no_init_weights():
            model = kind(converted.config)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"expected sizes of {kind.__name__}, got {error}: give another file") from error
    require_fit(model, converted.weights)
    model.load_state_dict(converted.weights, strict=False, assign=True)
    model.tie_weights()
    dtypes = {each.dtype for each in converted.weights.values() if each.is_floating_point()}
    network: torch.nn.Module = model
    network.to(reduce(torch.promote_types, dtypes))
    return model


def require_fit(model: PreTrainedModel, weights: Mapping[str, Tensor]) -> None:
    """Whether a checkpoint has each tensor of a model and no other. Counters and tables of integers may be missing.

    Raises:
        UserError: which not.
    """
    expected = model.state_dict()
    needed = {name for name, like in expected.items() if like.is_floating_point()} - set(model.all_tied_weights_keys)
    other = [
        f"{name} of {tuple(weights[name].shape)} in place of {tuple(like.shape)}"
        for name, like in expected.items()
        if name in weights
        and (weights[name].shape, weights[name].is_floating_point()) != (like.shape, like.is_floating_point())
    ]
    wrong = {
        "missing": sorted(needed - weights.keys()),
        "left over": sorted(weights.keys() - expected.keys()),
        "of another shape or kind": other,
    }
    said = [f"{what}: {first_names(names)}" for what, names in wrong.items() if names]
    if said:
        raise UserError(
            f"expected the {len(needed)} tensors of {type(model).__name__} (by its names); {'; '.join(said)}: "
            "give another file"
        )


def write(model: PreTrainedModel, processor: Any, folder: Path) -> None:
    """Fill a folder with a model and what makes its inputs.

    Raises:
        OSError: there is no room.
    """
    try:
        model.save_pretrained(folder)
    except SafetensorError as error:
        raise OSError(None, str(error)) from error
    processor.save_pretrained(folder)


def card(model: PreTrainedModel, processor: Any, out: Path, checkpoints: Iterable[Path]) -> CardFacts:
    """What the model card of a folder says; licences are those stated beside the checkpoints."""
    return CardFacts(
        title=out.absolute().name,
        folder=out.absolute().name,
        **network_facts(model),
        starts=[read_start(path if path.is_dir() else path.parent) for path in checkpoints],
        made="converted of a published checkpoint",
        has_processor=isinstance(processor, ProcessorMixin),
    )


def summary(model: PreTrainedModel, converted: Converted, processor: Any, folder: Path) -> str:
    """What came out, what was left out, what was assumed, what has tokens, and a command that loads it."""
    parameters, size = model.num_parameters(), sum(path.stat().st_size for path in folder.iterdir())
    dtype = str(model.dtype).removeprefix("torch.")
    name, package = type(model).__name__, type(model).__module__.rpartition(".")[0]
    load = f"from {package} import {name}; {name}.from_pretrained({json.dumps(str(folder))})"
    lines = [
        f"{folder}: {name}, {parameters:,} parameters, {dtype}, {size / 1e6:,.1f} MB",
        f"taken to be as published: {converted.assumed}",
        f"next: python -c {shlex.quote(load)}",
    ]
    if isinstance(processor, ProcessorMixin):
        rows = model.config.text_config.vocab_size
        lines.insert(2, f"tokenizer: {len(processor.tokenizer)} tokens for {rows} embedding rows")
    elif hasattr(model.config, "text_config"):
        lines.insert(2, "without a processor, so it cannot be asked or trained: give --tokenizer")
    if converted.left_out:
        count = len(converted.left_out)
        lines.insert(1, f"left out, as the model does not need it: {count} tensors, {first_names(converted.left_out)}")
    return "\n".join(lines)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Puts the file before what is said of it."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
