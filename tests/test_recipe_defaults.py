from music_flamingo.recipe_defaults import with_own_defaults

STAGE = "tests.dummy_stage.Stage"  # its optimizer is AdamW unless the recipe says otherwise


def optimizer_of(optimizer: object) -> dict[str, object]:
    tree = {"model": {"class_path": STAGE, "init_args": {"optimizer": optimizer}}}
    filled = with_own_defaults(tree)["model"]["init_args"]["optimizer"]
    assert isinstance(filled, dict)
    return filled


def test_an_optimizer_keeps_its_own_weight_decay() -> None:
    filled = optimizer_of({"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}})
    assert filled["init_args"]["weight_decay"] == 0  # type: ignore[index]
    assert filled["init_args"]["lr"] == 0.1  # type: ignore[index]


def test_settings_the_replaced_class_does_not_know_are_left_to_the_class() -> None:
    filled = optimizer_of({"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}})
    assert "momentum" not in filled["init_args"]  # type: ignore[operator]


def test_a_bare_import_path_becomes_a_class_with_its_defaults() -> None:
    filled = optimizer_of("torch.optim.SGD")
    assert filled["class_path"] == "torch.optim.SGD"
    assert filled["init_args"]["lr"] == 1e-3  # type: ignore[index]


def test_what_the_recipe_says_goes_before_defaults() -> None:
    filled = optimizer_of({"class_path": "torch.optim.SGD", "init_args": {"weight_decay": 0.5}})
    assert filled["init_args"]["weight_decay"] == 0.5  # type: ignore[index]


def test_all_else_stays_as_it_is() -> None:
    tree = {
        "model": {"class_path": STAGE, "init_args": {"start": 2.0}},
        "trainer": {"callbacks": [{"a": 1}], "x": None},
    }
    assert with_own_defaults(tree) == tree
    assert with_own_defaults({"class_path": STAGE, "init_args": {"optimizer": None}})["init_args"] == {
        "optimizer": None
    }


def test_empty_init_args_are_as_good_as_none() -> None:
    assert with_own_defaults({"class_path": STAGE, "init_args": None}) == {"class_path": STAGE}
