"""What the Songbook writes about a piece, word for word, must earn everything there is."""

import pytest

from music_flamingo.corpora.songbook.captions import caption_text, metadata
from music_flamingo.corpora.songbook.observations import observe
from music_flamingo.corpora.songbook.traces import think_text
from music_flamingo.corpora.songbook.vocabulary import songbook_vocabulary
from music_flamingo.rewards import FormatReward, Reference, StructuredThinkingReward, ThinkStepsReward

CLIP = {
    "instruments": ["flute", "violin"],
    "entries": [{"instrument": "flute", "start": 0.0}, {"instrument": "violin", "start": 3.9}],
    "texture": "duet",
    "drums": True,
    "tempo": "fast",
    "bpm": 126,
    "meter": "6/8",
    "tonic": "A",
    "mode": "minor",
    "change": "pause",
    "change_time": 5.1,
    "chord": {"start": 2.4, "name": "F# major"},
    "sections": None,
    "dance": "jig",
}
PIECE = CLIP | {
    "texture": None,
    "drums": False,
    "change": "none",
    "chord": None,
    "sections": ["solo", "full", "solo"],
}


@pytest.mark.parametrize("truth", [CLIP, PIECE], ids=["clip", "full piece"])
def test_clean_thoughts_and_captions_earn_everything(truth) -> None:
    described, observed = metadata(truth, "fiddle tune"), observe(truth)
    caption = caption_text(truth, "fiddle tune")
    conversation = {"task": "caption", "question": "Describe the music.", "answer": caption}
    reference = Reference.from_conversation(conversation, {"metadata": described, "observations": observed})
    completion = f"<think> {think_text(observed)} </think> <answer> {caption} </answer>"
    vocabulary = songbook_vocabulary()
    assert FormatReward()(completion, reference) == 1.0
    assert StructuredThinkingReward(vocabulary, complete_fields=["dynamics"])(completion, reference) == 1.0
    assert ThinkStepsReward(vocabulary, seconds_tolerance=0.5)(completion, reference) == 1.0
