"""A directory holds a model rounded once, each tensor once, and takes the place of another only when it is whole."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoModelForMultimodalLM

from music_flamingo.errors import UserError
from music_flamingo.hf_directory import fill_hf_directory, replace_hf_directory
from music_flamingo.models import AFClap
from music_flamingo.models.model_kinds import load_model
from tests.builders import preset_directory, tiny_model

CLAP = "af-clap-tiny"


@pytest.mark.parametrize("preset", ["tinymu-tiny", "audio-flamingo-2-tiny", CLAP])
def test_rounded_weights_are_half_the_size_and_those_that_are_one_stay_one(preset: str, tmp_path: Path) -> None:
    start = str(preset_directory(preset))
    model: Any = AFClap(start) if preset == CLAP else load_model(start)
    exact = {name: each.clone() for name, each in model.network.state_dict().items()}
    fill_hf_directory(tmp_path / "out", model, start, dtype=torch.bfloat16)
    auto = AutoModel if preset == CLAP else AutoModelForMultimodalLM
    loaded = auto.from_pretrained(tmp_path / "out", local_files_only=True)
    assert {each.dtype for each in loaded.parameters()} == {torch.bfloat16}
    for name, each in loaded.state_dict().items():
        assert torch.equal(each, exact[name].bfloat16() if exact[name].is_floating_point() else exact[name]), name
    sizes = [(Path(folder) / "model.safetensors").stat().st_size for folder in (tmp_path / "out", start)]
    assert sizes[0] < 0.53 * sizes[1]  # names and shapes stay as long as they are


def test_an_export_that_fails_leaves_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "config.json").write_text("before")
    with pytest.raises(UserError, match=r"nowhere/config.json does not exist"):
        replace_hf_directory(tmp_path / "export", tiny_model(), str(tmp_path / "nowhere"))
    assert (tmp_path / "export" / "config.json").read_text() == "before"
