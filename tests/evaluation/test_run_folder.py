import pytest

from music_flamingo.errors import UserError
from music_flamingo.evaluation.run_folder import read_run


def test_a_stage_is_read_with_its_record_and_recipe(tmp_path, builders):
    builders.write_stage(tmp_path, "2_sft", [builders.prediction()], corpus="somewhere")

    stage = read_run(tmp_path).stages["2_sft"]

    assert (stage.seconds, stage.peak_rss_mib, len(stage.predictions)) == (95.0, 812.5, 1)
    assert stage.setting("seed_everything") == 7


def test_settings_are_resolved_across_the_recipe(tmp_path, builders):
    builders.write_stage(tmp_path, "2_sft", corpus="somewhere")

    assert read_run(tmp_path).setting("data.init_args.corpus") == "somewhere"


def test_a_setting_that_no_recipe_has_is_none(tmp_path, builders):
    builders.write_stage(tmp_path, "2_sft")

    assert read_run(tmp_path).setting("trainer.max_steps") is None


def test_the_final_model_is_that_of_the_last_stage_with_predictions_but_never_the_control(tmp_path, builders):
    for name, rows in (("2_sft", []), ("3_warmup", [builders.prediction()]), ("4_grpo", None)):
        builders.write_stage(tmp_path, name, rows)
    builders.write_stage(tmp_path, "control", [builders.prediction()])

    assert read_run(tmp_path).final.name == "3_warmup"


def test_stages_of_any_name_are_ordered_by_their_number(tmp_path, builders):
    for name in ("0_contrastive", "1_alignment", "2_sft", "3_long", "10_grpo", "10_grpo_clean", "2_sft_whole"):
        builders.write_stage(tmp_path, name, None if name == "0_contrastive" else [builders.prediction()])

    run = read_run(tmp_path)

    assert run.final.name == "10_grpo"
    assert not [absence for absence in run.missing if "folder" in absence or "predictions" in absence]


def test_what_is_missing_is_listed(tmp_path, builders):
    folder = builders.write_stage(tmp_path, "2_sft", None)
    (folder / "stage.json").unlink()

    missing = read_run(tmp_path).missing

    assert "stage folder 4_grpo/" in missing
    assert "2_sft/predictions.jsonl" in missing
    assert "2_sft/stage.json" in missing
    assert "2_sft/recipe.yaml" not in missing


def test_tagging_owes_no_predictions(tmp_path, builders):
    builders.write_stage(tmp_path, "1_tagging", None)

    assert "1_tagging/predictions.jsonl" not in read_run(tmp_path).missing


def test_a_folder_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such run folder"):
        read_run(tmp_path / "nowhere")


def test_a_run_with_nothing_at_all_is_refused(tmp_path):
    (tmp_path / "notes").mkdir()

    with pytest.raises(UserError, match="expected stage folders such as 2_sft"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("stage.json", "{", r"stage\.json: expected JSON"),
        ("stage.json", "[]", r"stage\.json: expected a JSON object"),
        ("recipe.yaml", "a: [", r"recipe\.yaml: expected a recipe in YAML"),
        ("recipe.yaml", "- a", r"recipe\.yaml: expected a mapping"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_in_one_line(tmp_path, builders, file, text, message):
    folder = builders.write_stage(tmp_path, "2_sft")
    (folder / file).write_text(text)

    with pytest.raises(UserError, match=message) as caught:
        read_run(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_reference_that_leads_nowhere_is_named(tmp_path, builders):
    folder = builders.write_stage(tmp_path, "2_sft")
    (folder / "recipe.yaml").write_text("seed_everything: ${run.seed}")

    with pytest.raises(UserError, match=r"2_sft/recipe\.yaml: seed_everything cannot be resolved"):
        read_run(tmp_path).setting("seed_everything")
