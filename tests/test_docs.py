"""Pages lead to files that exist, and what docs/models.md says of sizes is so."""

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import MusicFlamingoForConditionalGeneration, PreTrainedModel, WhisperFeatureExtractor

from music_flamingo.models import LoRA
from music_flamingo.models.audio_flamingo_2 import (
    AFClapFeatureExtractor,
    AudioFlamingo2Config,
    AudioFlamingo2ForConditionalGeneration,
)
from music_flamingo.models.audio_flamingo_2.window_features import BANDS, STEPS
from music_flamingo.models.matpac import MatpacFeatureExtractor
from music_flamingo.models.model_kinds import frontend_of
from music_flamingo.models.tinymu import TinyMUConfig, TinyMUForConditionalGeneration
from tests.builders import full_size_config

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\(([^)\s#]+)")
MODELS = (ROOT / "docs" / "models.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_links_only_to_files_that_exist(page: Path) -> None:
    targets = [target for target in LINK.findall(page.read_text()) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def numbers_in(row: str, unit: str = "") -> list[float]:
    """The last number before `unit` in each cell of a row of the page's tables; none for a cell without."""
    line = next(line for line in MODELS.splitlines() if line.startswith(f"| {row} |"))
    found = [re.findall(rf"([\d,.]*\d){unit}", cell) for cell in line.split("|")[2:-1]]
    return [float(numbers[-1].replace(",", "")) for numbers in found if numbers]


def millions(modules: Iterable[nn.Module]) -> float:
    """Parameters of modules, each counted once, with MATPAC++'s fixed positions, as the page writes them."""
    modules = list(modules)
    parameters = {id(p): p.numel() for module in modules for p in module.parameters()}
    fixed = sum(b.numel() for module in modules for name, b in module.named_buffers() if name.endswith("positions"))
    return round((sum(parameters.values()) + fixed) / 1e6, 1)


def cross_attention(model: PreTrainedModel) -> list[nn.Module]:
    return [layer.cross_attention for layer in model.model.language_model.layers if hasattr(layer, "cross_attention")]


def language_model(model: PreTrainedModel) -> Iterator[nn.Module]:
    """Its parts without what hears."""
    body = model.model.language_model
    layers = [getattr(layer, "decoder_layer", layer) for layer in body.layers]
    return chain([body.embed_tokens, body.norm, model.lm_head], layers)


@pytest.fixture(scope="module")
def models() -> list[PreTrainedModel]:
    """The three at their published sizes, without storage."""
    with torch.device("meta"):
        made: list[PreTrainedModel] = [
            MusicFlamingoForConditionalGeneration(full_size_config()),
            AudioFlamingo2ForConditionalGeneration(AudioFlamingo2Config()),
            TinyMUForConditionalGeneration(TinyMUConfig()),
        ]
    for model in made:
        model.tie_weights()
    return made


def test_the_parts_have_as_many_parameters_as_the_page_says(models: list[PreTrainedModel]) -> None:
    bodies = [model.model for model in models]
    between = [getattr(body, "audio_transform", None) or body.multi_modal_projector for body in bodies]
    assert numbers_in("encoder", " M") == [millions([body.audio_tower]) for body in bodies]
    assert numbers_in("behind it", " M") == [millions([each]) for each in between]
    assert numbers_in("cross-attention", " M") == [millions(cross_attention(models[1]))]
    assert numbers_in("language model", " M") == [millions(language_model(model)) for model in models]
    assert numbers_in("all parts", " M") == [millions([model]) for model in models]
    for dtype, size in (("bfloat16", 2), ("float32", 4)):
        expected = [round(size * millions([model]) / 1000, 1) for model in models]
        assert numbers_in(f"weights in {dtype}", " GB") == expected


def test_the_drawing_has_the_sizes_of_the_page() -> None:
    drawing = (ROOT / "docs" / "models.svg").read_text()
    sizes = [*numbers_in("encoder", " M"), *numbers_in("behind it", " M")]
    assert [size for size in sizes if f" {size} million" not in drawing] == []


def test_adapters_are_as_many_as_the_page_says() -> None:
    with torch.device("meta"):
        large = MusicFlamingoForConditionalGeneration(full_size_config()).model.language_model
        small = TinyMUForConditionalGeneration(TinyMUConfig()).model.language_model
        LoRA(64, 16, ["_proj$"]).adapt(large)
        LoRA(32, 128, ["q_proj", "v_proj"]).adapt(small)
    trained = [sum(p.numel() for p in body.parameters() if p.requires_grad) / 1e6 for body in (large, small)]
    assert re.findall(r"adapters, ([\d.]+) M of them", MODELS) == [f"{each:.1f}" for each in trained]


@pytest.mark.parametrize(
    ("row", "seconds"),
    [
        ("audio tokens of 10 s", (10, 10, 10)),
        ("audio tokens of 4 minutes", (240, 240, 240)),
        ("audio tokens of it", (1200, 300, 1200)),
    ],
)
def test_audio_tokens_are_as_many_as_the_page_says(row: str, seconds: tuple[int, int, int]) -> None:
    extractors = [WhisperFeatureExtractor(feature_size=128), AFClapFeatureExtractor(), MatpacFeatureExtractor()]
    whisper, clap, matpac = (frontend_of(SimpleNamespace(feature_extractor=each)) for each in extractors)
    lengths = [each.mel_lengths(16_000 * s) for each, s in zip((whisper, clap, matpac), seconds, strict=True)]
    expected = [
        int(whisper.token_lengths(lengths[0]).sum()),
        BANDS * STEPS * len(lengths[1]),
        int(matpac.token_lengths(lengths[2]).sum()),
    ]
    assert numbers_in(row) == expected
