from pathlib import Path

import pytest
import yaml

from music_flamingo.errors import UserError
from music_flamingo.recipe import COMMAND_LINE, Override, Recipe, read_recipe

BASE = """
run: {root: runs/songbook, name: 2_sft}
vars: {steps: 100}
model: {class_path: a.Stage, init_args: {lr: 1.0}}
trainer: {default_root_dir: "${run.root}/${run.name}", max_steps: "${vars.steps}"}
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write(tmp_path / "base.yaml", BASE)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_an_overlay_changes_what_the_base_refers_to(base: Path) -> None:
    overlay = write(base.with_name("overlay.yaml"), "run: {root: runs/debug}\nvars: {steps: 2}")
    trainer = read_recipe([base, overlay]).settings()["trainer"]
    assert trainer == {"default_root_dir": "runs/debug/2_sft", "max_steps": 2}


def test_an_overlay_may_refer_to_the_base(base: Path) -> None:
    overlay = write(base.with_name("overlay.yaml"), "data: {init_args: {cuts: '${run.root}/corpus'}}")
    assert read_recipe([base, overlay]).settings()["data"]["init_args"]["cuts"] == "runs/songbook/corpus"


def test_an_override_reaches_the_values_derived_from_it(base: Path) -> None:
    recipe = read_recipe([base], [Override("run.name", "other"), Override("vars.steps", "7")])
    assert recipe.settings()["trainer"] == {"default_root_dir": "runs/songbook/other", "max_steps": 7}


def test_blocks_for_reference_are_not_settings(base: Path) -> None:
    assert list(read_recipe([base]).settings()) == ["model", "trainer"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("1e-4", 1e-4),
        ("true", True),
        ("null", None),
        ("[a, 2]", ["a", 2]),
        ("runs/x.y", "runs/x.y"),
    ],
)
def test_override_values_are_read_as_yaml(text: str, value: object) -> None:
    assert read_recipe([], [Override("trainer.x", text)]).settings() == {"trainer": {"x": value}}


def test_the_saved_recipe_keeps_references_and_reads_the_same(base: Path) -> None:
    recipe = read_recipe([base], [Override("run.name", "again")])
    saved = write(base.with_name("saved.yaml"), recipe.to_yaml())
    assert yaml.safe_load(saved.read_text())["trainer"]["max_steps"] == "${vars.steps}"
    assert read_recipe([saved]).settings() == recipe.settings()


def test_every_key_knows_where_it_was_set_last(base: Path) -> None:
    overlay = write(base.with_name("overlay.yaml"), "trainer: {max_steps: 3}")
    recipe = read_recipe([base, overlay], [Override("model.lr", "2.0")])
    assert recipe.origin(("trainer", "max_steps")) == str(overlay)
    assert recipe.origin(("trainer", "default_root_dir")) == str(base)
    assert recipe.origin(("model", "init_args", "lr")) == COMMAND_LINE


def test_a_key_nobody_set_came_from_the_block_above_it(base: Path) -> None:
    overlay = write(base.with_name("overlay.yaml"), "data: {class_path: a.Data}")
    assert read_recipe([base, overlay]).origin(("data", "init_args", "cuts")) == str(overlay)


def test_a_recipe_of_nothing_has_the_command_line_as_origin() -> None:
    assert Recipe((), frozenset(), {}).origin(("model",)) == COMMAND_LINE


def test_recipes_of_two_training_stages_are_refused(base: Path) -> None:
    other = write(base.with_name("other.yaml"), "model: {class_path: a.Other}")
    with pytest.raises(UserError, match=r"other.yaml: model.class_path is a.Other, but .*base.yaml trains a.Stage"):
        read_recipe([base, other])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere.yaml: cannot read this recipe: No such file"):
        read_recipe([tmp_path / "nowhere.yaml"])


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read this recipe: Is a directory"):
        read_recipe([tmp_path])


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "song.flac").write_bytes(b"fLaC\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot read this recipe: expected YAML text"):
        read_recipe([tmp_path / "song.flac"])


def test_broken_yaml_is_named_by_line(tmp_path: Path) -> None:
    broken = write(tmp_path / "broken.yaml", "trainer:\n  max_steps: [1\nmodel: {}\n")
    with pytest.raises(UserError, match=r"broken.yaml:\d: not YAML: .*expected"):
        read_recipe([broken])


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    twice = write(tmp_path / "twice.yaml", "trainer: {max_steps: 1, max_steps: 2}")
    with pytest.raises(UserError, match="not YAML: found duplicate key"):
        read_recipe([twice])


def test_yaml_tags_build_no_objects(tmp_path: Path) -> None:
    tagged = write(tmp_path / "tagged.yaml", "trainer: !!python/object/apply:os.getcwd []")
    with pytest.raises(UserError, match="not YAML: could not determine a constructor"):
        read_recipe([tagged])


def test_a_list_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected settings such as `model:`"):
        read_recipe([write(tmp_path / "list.yaml", "- 1\n- 2")])


def test_an_empty_file_changes_nothing(base: Path) -> None:
    empty = write(base.with_name("empty.yaml"), "# nothing\n")
    assert read_recipe([base, empty]).settings() == read_recipe([base]).settings()


def test_a_malformed_reference_is_refused_with_its_key(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"open.yaml: a: "):
        read_recipe([write(tmp_path / "open.yaml", "a: ${b")]).settings()


def test_a_reference_to_nothing_is_named(base: Path) -> None:
    lost = write(base.with_name("lost.yaml"), "data: {init_args: {cuts: ['${run.nowhere}']}}")
    with pytest.raises(UserError, match=r"lost.yaml: data.init_args.cuts.0: .*'run.nowhere' not found; define it"):
        read_recipe([base, lost]).settings()


def test_a_value_that_has_to_be_given_is_asked_for(base: Path) -> None:
    asks = write(base.with_name("asks.yaml"), "data: {init_args: {cuts: '???'}}")
    with pytest.raises(UserError, match=r"asks.yaml: data.init_args.cuts has to be given .*--data.init_args.cuts"):
        read_recipe([base, asks]).settings()
    given = read_recipe([base, asks], [Override("data.init_args.cuts", "songs")])
    assert given.settings()["data"]["init_args"]["cuts"] == "songs"


def test_an_override_that_is_not_yaml_is_refused() -> None:
    with pytest.raises(UserError, match=r"command line: --trainer.x: cannot read '\[1' as YAML"):
        read_recipe([], [Override("trainer.x", "[1")])


def test_an_override_through_a_plain_value_is_refused(base: Path) -> None:
    with pytest.raises(UserError, match=r"command line: --vars.steps.x: the key leads through the plain value 100"):
        read_recipe([base], [Override("vars.steps.x", "1")])
