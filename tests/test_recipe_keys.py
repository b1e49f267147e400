from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.cli import OptimizerCallable

from music_flamingo.errors import UserError
from music_flamingo.recipe import Recipe, Source
from music_flamingo.recipe_keys import KeyCheck, settings_of, takes_objects

MODEL = {"class_path": "tests.dummy_stage.Stage"}


def check(content: dict[str, Any], annotation: Any = Any) -> None:
    """Check a recipe whose `model` block takes anything; the file is called recipe.yaml."""
    recipe = Recipe((Source("recipe.yaml", content),), frozenset(), content)
    KeyCheck(recipe, ("torch", "lightning", "tests")).keys(content, (), {"model": annotation}, "the recipe")


class Renamed(ModelCheckpoint):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)


def complete(prompt: str, temperature: float = 1.0) -> str:
    return prompt * int(temperature)


def stage(**init_args: object) -> dict[str, Any]:
    return {"model": MODEL | {"init_args": init_args}}


def test_settings_that_the_signatures_know_pass() -> None:
    optimizer = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.1, "weight_decay": 0.0}}
    check(stage(optimizer=optimizer, rollout={"temperature": 0.5}, start=2.0))


def test_a_misspelt_key_is_named_with_file_and_nearest_known_key() -> None:
    with pytest.raises(
        UserError,
        match=r"recipe.yaml: unknown key model.init_args.starts: Stage has no such setting; "
        r"did you mean model.init_args.start\?",
    ):
        check(stage(starts=1.0))


def test_a_key_near_to_none_lists_what_is_known() -> None:
    with pytest.raises(
        UserError, match="unknown key .*xyz: Stage has no such setting; known: optimizer, rollout, start"
    ):
        check(stage(xyz=1.0))


def test_a_misspelt_key_below_an_optimizer_is_found() -> None:
    optimizer = {"class_path": "torch.optim.AdamW", "init_args": {"weight_decai": 0.0}}
    with pytest.raises(UserError, match="did you mean model.init_args.optimizer.init_args.weight_decay"):
        check(stage(optimizer=optimizer))


def test_a_misspelt_key_of_a_dataclass_is_found() -> None:
    with pytest.raises(UserError, match=r"Rollout has no such setting; did you mean .*rollout.temperature"):
        check(stage(rollout={"temperatures": 1.0}))


def test_a_misspelt_key_in_a_list_of_callbacks_is_found() -> None:
    callback = {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"save_top": 1}}
    with pytest.raises(UserError, match=r"model.0.init_args.save_top: .*did you mean model.0.init_args.save_top_k"):
        check({"model": [callback]})


def test_settings_beside_class_path_are_sent_to_init_args() -> None:
    with pytest.raises(UserError, match="unknown key model.start: settings of Stage are written under init_args"):
        check({"model": MODEL | {"start": 1.0}})


def test_init_args_have_to_be_settings() -> None:
    with pytest.raises(UserError, match="model.init_args: expected settings, got 3"):
        check({"model": MODEL | {"init_args": 3}})


@pytest.mark.parametrize("class_path", ["os.system", "builtins.eval", "subprocess.Popen"])
def test_classes_of_other_packages_are_refused_before_they_are_imported(class_path: str) -> None:
    with pytest.raises(UserError, match=f"model.class_path: {class_path}: a recipe may only name classes of torch"):
        check({"model": {"class_path": class_path}})


def test_a_bare_import_path_is_held_to_the_same_packages() -> None:
    with pytest.raises(UserError, match="model.init_args.optimizer: os.system: a recipe may only name"):
        check(stage(optimizer="os.system"))


def test_a_file_in_place_of_a_class_is_refused() -> None:
    with pytest.raises(UserError, match="expected a full import path such as .*, got 'other/optimizer.yaml'"):
        check(stage(optimizer="other/optimizer.yaml"))


def test_the_class_settings_given_freely_are_looked_through_too() -> None:
    with pytest.raises(UserError, match="os.system: a recipe may only name"):
        check({"model": MODEL | {"dict_kwargs": {"inner": {"class_path": "os.system"}}}})


@pytest.mark.parametrize("class_path", ["Stage", 3, "not a path"])
def test_a_class_needs_its_full_import_path(class_path: object) -> None:
    with pytest.raises(UserError, match="expected a full import path"):
        check({"model": {"class_path": class_path}})


def test_the_top_level_folders_are_named_by_their_import_path() -> None:
    with pytest.raises(UserError, match="is imported as music_flamingo.data_modules.Songs: write that"):
        check({"model": {"class_path": "data_modules.Songs"}})


def test_a_misspelt_class_is_named_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"model.class_path: torch.optim has no class AdaamW; did you mean AdamW\?"):
        check({"model": {"class_path": "torch.optim.AdaamW"}})


def test_a_module_is_no_class() -> None:
    with pytest.raises(UserError, match="torch.optim has no class adamw"):
        check({"model": {"class_path": "torch.optim.adamw"}})


def test_a_missing_module_is_named() -> None:
    with pytest.raises(UserError, match=r"there is no module torch.optimum"):
        check({"model": {"class_path": "torch.optimum.AdamW"}})


def test_a_package_that_a_class_needs_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "torch_like.py").write_text("import not_there_at_all")
    monkeypatch.syspath_prepend(tmp_path)
    content = {"model": {"class_path": "torch_like.Adam"}}
    recipe = Recipe((Source("recipe.yaml", content),), frozenset(), content)
    with pytest.raises(UserError, match="torch_like.Adam needs not_there_at_all, which is not installed"):
        KeyCheck(recipe, ("torch_like",)).value(content, ())


def test_settings_that_a_class_passes_on_as_kwargs_are_known() -> None:
    assert {"monitor", "save_top_k", "filename"} <= settings_of(Renamed).keys()


def test_settings_of_a_function_are_its_parameters() -> None:
    assert settings_of(complete) == {"prompt": str, "temperature": float}


def test_every_setting_of_the_trainer_is_known() -> None:
    assert {"max_steps", "callbacks", "default_root_dir", "precision"} <= settings_of(Trainer).keys()


@pytest.mark.parametrize(
    "annotation", [OptimizerCallable, list[Callback] | None, str | Callback, Callable, type[Callback]]
)
def test_places_for_objects_are_told_by_their_annotation(annotation: Any) -> None:
    assert takes_objects(annotation)


@pytest.mark.parametrize("annotation", [str, Path | None, list[str], dict[str, float], Literal["a.b"], Any])
def test_places_for_plain_values_take_any_text(annotation: Any) -> None:
    assert not takes_objects(annotation)
