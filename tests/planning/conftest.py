from pathlib import Path

import pytest
from transformers import WhisperFeatureExtractor

from tests.builders import full_size_config


@pytest.fixture(scope="session")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that says what Music Flamingo's sizes are, and holds no weights."""
    folder = tmp_path_factory.mktemp("full-size")
    full_size_config().save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=128).save_pretrained(folder)
    return folder
