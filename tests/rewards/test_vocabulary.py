import json

import pytest

from music_flamingo.errors import UserError
from music_flamingo.rewards import StructuredThinkingReward, ThinkStepsReward
from music_flamingo.rewards.vocabulary import read_vocabulary


def test_a_path_and_its_content_read_alike(tmp_path) -> None:
    content = {"fields": {"genre": ["reel"]}}
    path = tmp_path / "vocabulary.json"
    path.write_text(json.dumps(content))
    assert read_vocabulary(path, "fields", "x") == read_vocabulary(content, "fields", "x") == {"genre": ["reel"]}


@pytest.mark.parametrize(("reward", "key"), [(StructuredThinkingReward, "fields"), (ThinkStepsReward, "steps")])
class TestARewardRefuses:
    def test_a_missing_file(self, reward, key, tmp_path) -> None:
        with pytest.raises(UserError, match=rf"{reward.__name__}: cannot read the vocabulary .*nowhere.json"):
            reward(str(tmp_path / "nowhere.json"))

    def test_a_file_that_is_not_json(self, reward, key, tmp_path) -> None:
        (tmp_path / "broken.json").write_text("{")
        with pytest.raises(UserError, match="the vocabulary .*broken.json is not JSON"):
            reward(tmp_path / "broken.json")

    def test_a_file_that_is_not_text(self, reward, key, tmp_path) -> None:
        (tmp_path / "broken.json").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(UserError, match="the vocabulary .*broken.json is not JSON"):
            reward(tmp_path / "broken.json")

    @pytest.mark.parametrize("content", [{}, [], 3, {"fields": [], "steps": []}])
    def test_a_file_without_its_part(self, reward, key, content, tmp_path) -> None:
        (tmp_path / "other.json").write_text(json.dumps(content))
        with pytest.raises(UserError, match=f'expected a JSON object with the key "{key}" in .*other.json'):
            reward(tmp_path / "other.json")
