import pytest

from music_flamingo.errors import UserError
from music_flamingo.recipe_tree import full_key, holds, merge, parse_key, set_key, show_key

STAGE = {"class_path": "a.Stage", "init_args": {"lr": 1, "freeze": ["x"]}}


def test_mappings_merge_and_everything_else_replaces() -> None:
    below = {"trainer": {"max_steps": 9, "callbacks": [1, 2]}, "seed": 1}
    overlay = {"trainer": {"callbacks": [3]}, "seed": None}
    assert merge(below, overlay) == {"trainer": {"max_steps": 9, "callbacks": [3]}, "seed": None}


def test_merging_changes_neither_tree() -> None:
    below, overlay = {"a": {"b": 1}}, {"a": {"c": 2}}
    merge(below, overlay)
    assert (below, overlay) == ({"a": {"b": 1}}, {"a": {"c": 2}})


def test_settings_go_with_the_class_they_belonged_to() -> None:
    overlay = {"model": {"class_path": "a.Other", "init_args": {"beta": 2}}}
    assert merge({"model": STAGE}, overlay) == overlay


def test_settings_stay_when_the_overlay_names_the_same_class() -> None:
    merged = merge(STAGE, {"class_path": "a.Stage", "init_args": {"lr": 3}})
    assert merged == {"class_path": "a.Stage", "init_args": {"lr": 3, "freeze": ["x"]}}


def test_init_args_may_be_left_out_of_a_key() -> None:
    tree = {"model": {"class_path": "a.Stage", "init_args": {"optimizer": {"class_path": "o.Adam"}}}}
    assert full_key(tree, ("model", "optimizer", "lr")) == (("model", "init_args", "optimizer", "init_args", "lr"))


def test_a_full_key_stays_as_it_is() -> None:
    assert full_key({"model": STAGE}, ("model", "init_args", "lr")) == ("model", "init_args", "lr")
    assert full_key({"model": STAGE}, ("model", "class_path")) == ("model", "class_path")


def test_keys_lead_into_lists_by_place() -> None:
    tree = {"callbacks": [{"class_path": "c.First"}, STAGE]}
    key = full_key(tree, parse_key("callbacks.1.lr"))
    assert show_key(key) == "callbacks.1.init_args.lr"
    assert set_key(tree, key, 7)["callbacks"][1]["init_args"]["lr"] == 7


def test_setting_a_key_makes_the_blocks_on_the_way() -> None:
    assert set_key({}, ("trainer", "limits", "max_steps"), 5) == {"trainer": {"limits": {"max_steps": 5}}}


def test_a_bare_import_path_replaces_a_class_and_its_settings() -> None:
    assert set_key({"model": STAGE}, ("model",), "a.Other") == {"model": {"class_path": "a.Other"}}
    assert set_key({"strategy": STAGE}, ("strategy",), "auto") == {"strategy": "auto"}
    assert set_key({"model": STAGE}, ("model", "class_path"), "a.Other") == {"model": {"class_path": "a.Other"}}


def test_naming_the_class_that_is_there_keeps_its_settings() -> None:
    assert set_key({"model": STAGE}, ("model",), "a.Stage") == {"model": STAGE}
    assert set_key({"model": STAGE}, ("model", "class_path"), "a.Stage") == {"model": STAGE}


def test_settings_may_follow_a_bare_import_path() -> None:
    tree = {"model": "a.Stage"}
    assert set_key(tree, full_key(tree, ("model", "lr")), 2) == {
        "model": {"class_path": "a.Stage", "init_args": {"lr": 2}}
    }


def test_appending_adds_to_a_list_or_begins_one() -> None:
    assert set_key({"c": [1]}, ("c",), [2, 3], append=True) == {"c": [1, 2, 3]}
    assert set_key({}, ("c",), "a.Callback", append=True) == {"c": [{"class_path": "a.Callback"}]}


def test_a_key_through_a_plain_value_is_refused() -> None:
    with pytest.raises(UserError, match="leads through the plain value 4"):
        set_key({"max_steps": 4}, ("max_steps", "x"), 1)


@pytest.mark.parametrize("step", [1, "first"])
def test_a_place_that_is_not_in_the_list_is_refused(step: int | str) -> None:
    with pytest.raises(UserError, match=f"expected a place from 0 to 0 in the list, got {step}"):
        set_key({"c": [{}]}, ("c", step, "x"), 1)


def test_a_tree_holds_null_where_it_says_null() -> None:
    assert holds({"a": [{"b": None}]}, ("a", 0, "b"))
    assert not holds({"a": [{"b": None}]}, ("a", 0, "c"))
