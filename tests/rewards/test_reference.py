import pytest

from music_flamingo.errors import UserError
from music_flamingo.rewards import Reference

CONVERSATION = {
    "id": "reel-instrument-open",
    "task": "qa",
    "question": "Which instrument enters first?",
    "answer": "flute",
    "options": ["violin", "flute"],
    "answer_type": "text",
}
CUSTOM = {
    "metadata": {"bpm": "96"},
    "observations": [
        {"field": "first_instrument", "value": "flute", "start": 0.0},
        {"field": "drums", "value": "no drums", "start": None},
    ],
}


def test_a_reference_holds_what_conversation_and_cut_know() -> None:
    reference = Reference.from_conversation(CONVERSATION, CUSTOM)
    assert reference == Reference(
        task="qa",
        question="Which instrument enters first?",
        answer="flute",
        options=("violin", "flute"),
        metadata={"bpm": "96"},
        observations={"first_instrument": "flute", "drums": "no drums"},
        observation_seconds={"first_instrument": 0.0},
    )


def test_a_cut_without_metadata_and_observations_gives_empty_ones() -> None:
    reference = Reference.from_conversation({"task": "caption", "question": "?", "answer": "a duet"}, {})
    assert (reference.metadata, reference.observations, reference.options) == ({}, {}, ())


def test_a_missing_field_is_named_with_the_conversation() -> None:
    with pytest.raises(UserError, match="conversation reel-instrument-open: question, answer missing"):
        Reference.from_conversation({"id": "reel-instrument-open", "task": "qa"}, CUSTOM)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "essay"}, "task must be qa or caption, not 'essay'"),
        ({"answer_type": "colour"}, "answer_type must be one of text, bpm, .*, not 'colour'"),
        ({"answer": " . "}, "the answer is empty: nothing could be right"),
        ({"answer": "B"}, "the answer 'B' is none of the options .*not its letter"),
    ],
)
def test_a_reference_nothing_could_satisfy_is_refused(change, message) -> None:
    with pytest.raises(UserError, match=message):
        Reference.from_conversation(CONVERSATION | change, CUSTOM)


def test_a_conversations_own_metadata_count_before_the_cuts() -> None:
    """As MF-Skills is imported: each caption with the metadata that were made of it."""
    conversation = {"task": "caption", "question": "Describe it.", "answer": "A waltz.", "metadata": {"Meter": "3/4"}}
    custom = {"metadata": {"Meter": "4/4"}}
    assert Reference.from_conversation(conversation, custom).metadata == {"Meter": "3/4"}
    assert Reference.from_conversation({**conversation, "metadata": None}, custom).metadata == {"Meter": "4/4"}
