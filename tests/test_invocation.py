from pathlib import Path

import pytest

from music_flamingo.errors import UserError
from music_flamingo.invocation import Invocation, parse_invocation
from music_flamingo.recipe import Override


@pytest.mark.parametrize("words", [["--config", "a.yaml"], ["--config=a.yaml"], ["-c", "a.yaml"], ["-c=a.yaml"]])
def test_a_recipe_file_can_be_given_in_every_form_lightning_takes(words: list[str]) -> None:
    assert parse_invocation(words).configs == (Path("a.yaml"),)


@pytest.mark.parametrize("words", [["--trainer.max_steps", "-1"], ["--trainer.max_steps=-1"]])
def test_a_value_follows_its_key_with_or_without_an_equals_sign(words: list[str]) -> None:
    assert parse_invocation(words).overrides == (Override("trainer.max_steps", "-1"),)


def test_a_value_may_hold_equals_signs() -> None:
    assert parse_invocation(["--data.filter=a=b"]).overrides == (Override("data.filter", "a=b"),)


def test_plus_equals_appends() -> None:
    assert parse_invocation(["--trainer.callbacks+=a.B"]).overrides == (Override("trainer.callbacks", "a.B", True),)


def test_order_of_files_is_kept_wherever_overrides_stand() -> None:
    invocation = parse_invocation(["--config", "a.yaml", "--x", "1", "--config", "b.yaml", "--print_config"])
    assert invocation.configs == (Path("a.yaml"), Path("b.yaml"))
    assert invocation.print_config


def test_flags_are_no_keys() -> None:
    invocation = parse_invocation(["--test", "--x", "1"])
    assert (invocation.test, invocation.print_config, invocation.profile) == (True, False, False)
    assert invocation.overrides == (Override("x", "1"),)
    assert parse_invocation(["--x", "1", "--profile"]) == Invocation((), invocation.overrides, profile=True)


def test_a_repeated_call_leaves_out_the_checkpoint() -> None:
    words = ["--config", "my recipe.yaml", "--ckpt_path", "last", "--trainer.callbacks+=a.B", "--x", "1"]
    assert parse_invocation(words).repeat() == "--config 'my recipe.yaml' --trainer.callbacks+=a.B --x=1"


@pytest.mark.parametrize("words", [["--config"], ["--trainer.max_steps", "--trainer.devices", "1"]])
def test_a_key_without_value_is_refused(words: list[str]) -> None:
    with pytest.raises(UserError, match=rf"{words[0]} has no value"):
        parse_invocation(words)


@pytest.mark.parametrize("word", ["recipe.yaml", "-x", "--"])
def test_a_word_that_is_no_key_is_refused(word: str) -> None:
    with pytest.raises(UserError, match=f"expected --config FILE or --key value, got '{word}'"):
        parse_invocation([word])
