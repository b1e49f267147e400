import pytest
from jsonargparse import ArgumentError, ArgumentParser
from torch.nn import Parameter
from torch.optim import SGD, Optimizer

from music_flamingo.parse_errors import MAX_LENGTH, failed_key, failed_value, one_line


class Scaled(SGD):
    """An optimizer with a setting that has to be given."""

    def __init__(self, params: list[Parameter], factor: float) -> None:
        super().__init__(params, lr=factor)


def complaint(settings: dict[str, object]) -> str:
    """What jsonargparse says about settings of the wrong kind."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--steps", type=int)
    parser.add_subclass_arguments(Optimizer, "optimizer", skip={"params"})
    optimizer = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}
    with pytest.raises(ArgumentError) as caught:
        parser.parse_object({"optimizer": optimizer, **settings})
    return str(caught.value)


def test_a_wrong_value_is_said_with_what_was_expected() -> None:
    message = complaint({"steps": "many"})
    assert one_line(message) == "expected int, got 'many'"
    assert failed_key(message) == ("steps",)
    assert failed_value(message) == "many"


def test_a_wrong_value_inside_a_class_is_said_without_the_types_tried_around_it() -> None:
    message = complaint({"optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 1.0, "nesterov": "x"}}})
    assert one_line(message) == "expected bool, got 'x'"
    assert failed_key(message) == ("optimizer", "nesterov")
    assert "nesterov" in SGD.__init__.__annotations__


def test_a_class_of_another_kind_is_said_by_what_it_should_be() -> None:
    message = complaint({"optimizer": {"class_path": "torch.nn.Linear"}})
    assert one_line(message).startswith("expected subclass of Optimizer, got ")


def test_a_setting_that_is_missing_is_named_with_its_class() -> None:
    message = complaint({"optimizer": {"class_path": "tests.test_parse_errors.Scaled", "init_args": {}}})
    assert one_line(message) == "Scaled needs factor"


def test_a_message_of_unknown_form_is_flattened_and_cut_off() -> None:
    assert one_line("first\n   second") == "first second"
    assert failed_key("first") == ()
    assert failed_value("first") is None
    assert len(one_line("word " * 200)) == MAX_LENGTH
