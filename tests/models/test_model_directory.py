"""A class of ours loads its own kind of model and says which one it was given instead."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from music_flamingo.errors import UserError
from music_flamingo.models import AFClap, AudioFlamingo2, MusicFlamingo, TinyMU
from tests.builders import model_directory, preset_directory

DIRECTORIES: dict[str, Callable[[], Path]] = {
    "musicflamingo": model_directory,
    "tinymu": partial(preset_directory, "tinymu-tiny"),
    "audio_flamingo_2": partial(preset_directory, "audio-flamingo-2-tiny"),
}
CLASSES = {"musicflamingo": MusicFlamingo, "tinymu": TinyMU, "audio_flamingo_2": AudioFlamingo2, "af_clap": AFClap}


@pytest.mark.parametrize(
    ("expected", "given"), [(one, other) for one in CLASSES for other in DIRECTORIES if one != other]
)
def test_another_kind_of_model_is_refused_by_its_kind(expected: str, given: str) -> None:
    said = rf"expected a model of the kind '{expected}' \(model_type in config\.json\), got '{given}': give another"
    with pytest.raises(UserError, match=said):
        CLASSES[expected](str(DIRECTORIES[given]()))
