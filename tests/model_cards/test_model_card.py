"""Licences go from directory to directory, and what data says becomes no markup."""

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from music_flamingo.model_cards.carried_licence import carried_metadata, copy_licence_files, read_start
from music_flamingo.model_cards.model_card import CardFacts, CorpusFacts, ScoreFacts, model_card, write_card

NO_SCORES = ScoreFacts({}, {}, "Nobody asked.")


def directory(folder: Path, card: str | None = None, **texts: str) -> Path:
    folder.mkdir(parents=True)
    if card is not None:
        (folder / "README.md").write_text(card)
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder


def facts(**changes: Any) -> CardFacts:
    known: dict[str, Any] = {
        "title": "x",
        "folder": "x",
        "model": ("MusicFlamingoForConditionalGeneration", "transformers"),
        "answers": True,
        "starts": [],
        "dtype": "float32",
        "stage": "SFTModule",
        "scores": NO_SCORES,
    }
    return CardFacts(**{**known, **changes})


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ([], {}),
        ([None], {}),
        (["# no metadata"], {}),
        (["---\nlicense: mit\n---\n"], {"license": "mit"}),
        (["---\nlicense: [mit, bsd]\nbase_model: a/b\n---\n"], {"license": ["mit", "bsd"], "base_model": ["a/b"]}),
        (
            ["---\nlicense: mit\nbase_model: a\n---\n", "---\nlicense: mit\nbase_model: [b, a]\n---\n"],
            {"license": "mit", "base_model": ["a", "b"]},
        ),
        (
            ["---\nlicense: mit\n---\n", "---\nlicense: other\nlicense_name: nv\nlicense_link: LICENSE\n---\n"],
            {"license": "other", "license_name": "mit and nv"},
        ),
        (["---\nlicense: mit\n---\n", None], {"license": "other", "license_name": "mit and not stated"}),
        (["---\nlicense: {a: 1}\n---\n"], {}),
        (["---\nlicense: [\n---\n"], {}),
        (["---\n- mit\n---\n"], {}),
    ],
)
def test_what_several_state_is_carried(cards: list[str | None], expected: dict[str, Any], tmp_path: Path) -> None:
    starts = [read_start(directory(tmp_path / str(number), card)) for number, card in enumerate(cards)]
    assert carried_metadata(starts) == expected
    assert carried_metadata([read_start(tmp_path / "nowhere")]) == {}


def test_a_card_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    start = read_start(directory(tmp_path / "start", "---\nlicense: [\n---\n"))
    card = model_card(facts(starts=[start]))
    assert f"| {tmp_path / 'start'} | not stated: README.md cannot be read (ParserError) |" in card.text


def test_what_is_carried_is_carried_on(tmp_path: Path) -> None:
    """Of two licences neither is lost when the next stage starts from what was made of both."""
    parts = [directory(tmp_path / name, f"---\nlicense: {name}\n---\n", LICENSE=name) for name in ("mit", "bsd")]
    for last, starts in (("first", parts), ("second", [tmp_path / "first"])):
        folder = directory(tmp_path / last)
        write_card(folder, facts(starts=[read_start(start) for start in starts]))
        card = ModelCard.load(folder / "README.md")
        assert (card.data.license, card.data.license_name) == ("other", "mit and bsd")
        assert [(folder / name).read_text() for name in ("LICENSE", "LICENSE-2")] == ["mit", "bsd"]


def test_equal_texts_are_copied_once(tmp_path: Path) -> None:
    starts = [directory(tmp_path / name, LICENSE="same", **{"NOTICE.txt": name}) for name in ("a", "b")]
    (starts[0] / "LICENSES").mkdir()
    out = directory(tmp_path / "out")
    copied = copy_licence_files([read_start(start) for start in starts], out)
    assert copied == ["LICENSE", "NOTICE.txt", "NOTICE-2.txt"]
    assert sorted(path.name for path in out.iterdir()) == sorted(copied)


def test_what_data_says_is_no_markup() -> None:
    corpus = CorpusFacts("a|b", 1.0, 2, 0.5, {"<script>\n| x |": 2}, {f"[{n}](http://x)": 1 for n in range(14)})
    questions = {"*q*": {"n": 3, "accuracy": None, "interval": None, "majority": 0.5, "shuffled_audio": None}}
    recipe = "run:\n  name: |\n    ```\n    ---\n    # not a title\n"
    written = facts(corpora=[corpus], scores=ScoreFacts(questions, {}), recipe=recipe, title="# {{ 7 * 7 }}")
    text = str(model_card(written))
    assert "| a\\|b | 1 | 2 | 0.50 |" in text
    assert "- 2 x \\<script\\> \\| x \\|\n" in text
    assert "- 1 x \\[0\\](http://x)\n" in text
    assert "- 2 rarer ones\n" in text
    assert "| \\*q\\* | 3 | – | – | 0.50 | – |" in text
    assert f"````yaml\n{recipe.rstrip()}\n````\n" in text
    assert text.count("\n# ") == 1
    assert ModelCard(text).data.to_dict() == model_card(written).data.to_dict()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"corpora": None}, "Not recorded: the run has no recipe."),
        ({"corpora": []}, "The recipe names no corpus."),
        ({"recipe": ""}, "Not recorded."),
        ({}, "None. Nobody asked."),
        ({"starts": []}, "No start weights are recorded, and no licence is stated."),
        ({"stage": "", "scores": None, "made": "untrained"}, "`MusicFlamingoForConditionalGeneration`, untrained."),
        ({"stage": "TaggingModule"}, "teaches an encoder to hear"),
        ({"stage": "ContrastiveModule"}, "None. This stage answers no questions."),
    ],
)
def test_what_is_not_known_is_said(changes: dict[str, Any], said: str) -> None:
    text = str(model_card(facts(**changes)))
    assert said in text
    assert "None\n" not in text.replace("None. ", "")


def test_transcripts_are_scored_by_language() -> None:
    score = {"n": 2, "unit": "word", "rate": 0.25, "interval": (0.1, 0.4), "inserted": 0.05, "shuffled_audio": 0.9}
    text = str(model_card(facts(scores=ScoreFacts({}, {"en": score}))))
    assert "| en | 2 | word | 0.25 | 0.10 to 0.40 | 0.05 | 0.90 |" in text


def test_an_encoder_answers_nothing() -> None:
    card = model_card(facts(model=("AFClapModel", "music_flamingo.models.audio_flamingo_2"), answers=False))
    assert card.data.pipeline_tag is None
    assert "music-flamingo ask" not in card.text
    assert (
        "from music_flamingo.models.audio_flamingo_2 import AFClapModel\nfrom transformers import AutoProcessor\n"
        in card.text
    )
