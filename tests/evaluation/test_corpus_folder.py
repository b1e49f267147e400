import pytest

from music_flamingo.errors import UserError
from music_flamingo.evaluation.corpus_folder import read_corpus


@pytest.fixture
def folder(tmp_path, builders):
    train = [builders.custom("oboe", "slow"), builders.custom("flute", "fast")]
    return builders.write_corpus(tmp_path / "corpus", train, [builders.custom("oboe")])


def test_questions_of_both_splits_are_read(folder):
    corpus = read_corpus(folder)

    assert [each.answer for each in corpus.train_questions] == ["oboe", "slow", "flute", "fast"]
    assert corpus.test_questions["clip-0-instrument-open"].answer == "oboe"


def test_observations_are_known_by_field(folder):
    assert read_corpus(folder).observed("clip-0") == {"first_instrument": "oboe", "drums": "drums"}
    assert read_corpus(folder).observed("unknown") == {}


def test_a_missing_folder_names_the_recipe_field(tmp_path):
    with pytest.raises(UserError, match=r"no such corpus folder \(recipe field data\.init_args\.corpus\)"):
        read_corpus(tmp_path / "nowhere")


def test_a_missing_manifest_is_named(folder):
    (folder / "cuts_test.jsonl.gz").unlink()

    with pytest.raises(UserError, match=r"cuts_test\.jsonl\.gz, which does not exist"):
        read_corpus(folder)


def test_settings_that_are_not_json_are_named(folder):
    (folder / "corpus.json").write_text("{")

    with pytest.raises(UserError, match=r"corpus\.json: expected JSON"):
        read_corpus(folder)
