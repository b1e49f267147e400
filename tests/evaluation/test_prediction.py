import json

import pytest

from music_flamingo.errors import UserError
from music_flamingo.evaluation.prediction import read_predictions


def test_lines_become_predictions_in_order(tmp_path, builders):
    builders.write_predictions(tmp_path, [builders.prediction(cut="a"), builders.prediction(cut="b")])

    assert [each.cut for each in read_predictions(tmp_path / "predictions.jsonl")] == ["a", "b"]


def test_blank_lines_and_unknown_fields_do_no_harm(tmp_path, builders):
    path = tmp_path / "predictions.jsonl"
    path.write_text(json.dumps(builders.prediction(later="field")) + "\n\n")

    assert len(read_predictions(path)) == 1


def test_a_reward_that_is_not_a_number_is_no_reward(tmp_path, builders):
    builders.write_predictions(tmp_path, [builders.prediction(reward=float("nan"))])

    assert read_predictions(tmp_path / "predictions.jsonl")[0].reward is None


@pytest.mark.parametrize("line", ["{'stage': 1}", "[1, 2]"])
def test_a_line_that_is_no_json_object_is_named(tmp_path, builders, line):
    path = tmp_path / "predictions.jsonl"
    path.write_text(json.dumps(builders.prediction()) + "\n" + line + "\n")

    with pytest.raises(UserError, match=r"predictions\.jsonl, line 2: expected a JSON object"):
        read_predictions(path)


def test_a_missing_field_is_named(tmp_path, builders):
    row = builders.prediction()
    del row["truth"]
    builders.write_predictions(tmp_path, [row])

    with pytest.raises(UserError, match=r"line 1: field 'truth' is missing"):
        read_predictions(tmp_path / "predictions.jsonl")


def test_a_field_of_the_wrong_type_is_named(tmp_path, builders):
    builders.write_predictions(tmp_path, [builders.prediction(reward="high")])

    with pytest.raises(UserError, match=r"line 1: field 'reward' cannot be 'high'"):
        read_predictions(tmp_path / "predictions.jsonl")


@pytest.mark.parametrize("step", ["drums", {"field": "drums", "value": "drums"}])
def test_a_step_without_a_verdict_is_refused(tmp_path, builders, step):
    builders.write_predictions(tmp_path, [builders.prediction(steps=[step])])

    with pytest.raises(UserError, match=r"line 1: a step needs field, value and true"):
        read_predictions(tmp_path / "predictions.jsonl")


def test_a_transcript_without_its_counts_is_named(tmp_path, builders):
    builders.write_predictions(tmp_path, [builders.prediction(transcript={"language": "en"})])

    with pytest.raises(UserError, match="line 1: a transcript needs errors, inserted, language, length, unit"):
        read_predictions(tmp_path / "predictions.jsonl")
