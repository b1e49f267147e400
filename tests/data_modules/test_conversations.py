import re
import shutil
from collections import Counter
from pathlib import Path

import fsspec
import numpy as np
import pytest
import soundfile
import torch
from lhotse import CutSet
from lhotse.dataset import SimpleCutSampler

from music_flamingo.batch import PackedBatch
from music_flamingo.corpora.shar.build import shar_command
from music_flamingo.corpora.songbook.noise import MachineNoise
from music_flamingo.data_modules import Blend, ConversationDataModule, DirectAnswers, Source, ThinkTraces
from music_flamingo.data_modules.song_sampler import SamplerState
from music_flamingo.data_modules.training_rows import DROPPED
from music_flamingo.errors import UserError
from music_flamingo.models.cost_model import row_workload
from music_flamingo.models.music_flamingo_cost import MusicFlamingoCost
from tests.builders import chat, model_directory, tiny_model, write_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


def data_module(corpus: Path, **settings: object) -> ConversationDataModule:
    defaults = {"style": DirectAnswers(), "max_duration": 40.0, "questions_per_song": 4}
    data = ConversationDataModule(str(corpus), str(model_directory()), **{**defaults, **settings})  # type: ignore[arg-type]
    data.setup("fit")
    return data


def use(data: ConversationDataModule, row: PackedBatch) -> None:
    """Train on a row, as far as the data module can tell."""
    steps = data.used_rows.steps
    data.used_rows.begin(row.origin)
    data.used_rows.steps = lambda: steps() + 1
    data.used_rows.commit()
    data.used_rows.steps = steps


def answers_of(row: PackedBatch) -> list[tuple[str, str]]:
    """(conversation id, trained text) of each branch."""
    texts = []
    for segment, parent in enumerate(row.tree.parents):
        if parent >= 0:
            trained = row.targets.token_ids[row.targets.segments == segment]
            texts.append((row.examples[segment]["conversation"]["id"], chat().decode(trained)))
    return texts


def test_each_song_is_one_root_with_its_questions_and_only_answers_are_trained(corpus: Path) -> None:
    rows = list(data_module(corpus).train_dataloader())
    assert [len(row.tree.roots()) for row in rows] == [4, 4]
    for row in rows:
        assert row.audio is not None
        assert len(row.audio) == 4
        assert [len(branches) - 1 for branches in row.tree.trees()] == [4] * 4
        given = {
            c["id"]: c["answer"] for root in row.tree.roots() for c in row.examples[root]["custom"]["conversations"]
        }
        for conversation, text in answers_of(row):
            assert text == given[conversation]


def test_every_song_is_visited_once_per_epoch_with_other_questions_each_time(corpus: Path) -> None:
    loader = data_module(corpus).train_dataloader()
    epochs = []
    for epoch in range(2):
        loader.sampler.state = SamplerState(epoch)
        epochs.append([row for row in loader])
    cuts = [[row.examples[root]["cut"] for row in rows for root in row.tree.roots()] for rows in epochs]
    assert sorted(cuts[0]) == sorted(cuts[1]) == sorted(f"train-{n}" for n in range(8))
    assert cuts[0] != cuts[1]
    questions = [sorted(answers_of(row)[0][0] for row in rows) for rows in epochs]
    assert questions[0] != questions[1]


@pytest.mark.parametrize("place", ["folder", "url"])
def test_rows_of_a_corpus_in_shards_are_those_of_its_folder(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shar_command(str(corpus), tmp_path / "shar", shard_size=3)
    stored = str(tmp_path / "shar")
    if place == "url":
        memory = fsspec.filesystem("memory")
        memory.store.clear()
        memory.put(stored, "/rows", recursive=True)
        stored = "memory://rows"
    given = data_module(corpus, cache_features=False)
    in_shards = data_module(stored, num_workers=2 if place == "folder" else 0)  # type: ignore[arg-type]
    assert in_shards.vocabulary == given.vocabulary
    for theirs, ours in zip(given.train_dataloader(), in_shards.train_dataloader(), strict=True):
        assert torch.equal(ours.input_ids, theirs.input_ids)
        torch.testing.assert_close(ours.audio.features, theirs.audio.features, atol=1e-3, rtol=1e-3)
    assert (tmp_path / "cache").exists() == (place == "url")


def test_thoughts_end_in_one_answer_and_follow_the_noise(corpus: Path) -> None:
    noise = MachineNoise(missing=0.0, wrong=0.0, systematic={"flute": "organ"})
    row = next(iter(data_module(corpus, style=ThinkTraces(noise, ["instrument"], ["open"])).train_dataloader()))
    for conversation, text in answers_of(row):
        assert re.search(r" \. at 0 s the (\w+) begins \. </think> .* <answer> \1 </answer>", text), text
        assert text.count("<answer>") == 1
        assert "flute" not in text, conversation


def test_short_answers_can_weigh_more_than_thoughts_and_captions(corpus: Path) -> None:
    style = ThinkTraces(None, ["drums", "caption"], ["open", "caption"], short_answer_weight=4.0)
    row = next(iter(data_module(corpus, style=style).train_dataloader()))
    for segment, parent in enumerate(row.tree.parents):
        if parent < 0:
            continue
        trained = row.targets.segments == segment
        text = [chat().decode([token]) for token in row.targets.token_ids[trained].tolist()]
        before = text.index("<answer>") + 1
        weight = 1.0 if row.examples[segment]["conversation"]["task"] == "caption" else 4.0
        assert row.targets.weights[trained].tolist() == [1.0] * before + [weight] * (len(text) - before)


def test_what_training_leaves_out_is_counted_and_said(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noise = MachineNoise(missing=0.0, wrong=1.0, systematic={})
    data = data_module(corpus, style=ThinkTraces(noise, forms=["open"]))
    loader = data.train_dataloader()
    rows = list(loader)
    assert all(len(row.targets) == 0 for row in rows)
    assert sum(row.origin.left_out[DROPPED] for row in rows) == 8 * 4
    for row in rows:
        use(data, row)
    data.teardown("fit")
    assert capsys.readouterr().out == "left out: 32 conversations whose chain the checker dropped\n"


def test_prompts_have_no_targets(corpus: Path) -> None:
    row = next(iter(data_module(corpus, prompts_only=True).train_dataloader()))
    assert len(row.targets) == 0


def test_test_rows_hold_every_conversation_of_the_style(corpus: Path) -> None:
    data = data_module(corpus, test_style=DirectAnswers(["drums", "texture"], ["open"]))
    (row,) = data.test_dataloader()
    assert len(row.prompts()) == 3 * 2


def test_kept_features_equal_computed_ones_to_half_precision(corpus: Path) -> None:
    computed, kept = (data_module(corpus, cache_features=keep) for keep in (False, True))
    cut = computed.cuts["val"][0]
    fresh, stored, again = computed.store.windows(cut), kept.store.windows(cut), kept.store.windows(cut)
    torch.testing.assert_close(stored.features, fresh.features, rtol=1e-3, atol=1e-3)
    assert torch.equal(stored.features, again.features)
    assert list((corpus / "features").glob("*/*.safetensors"))


def test_a_song_over_the_limit_is_refused_or_shortened_and_counted(corpus: Path) -> None:
    with pytest.raises(UserError, match=r"cut val-0: expected at most 4 s of audio .* got 10.0 s"):
        next(iter(data_module(corpus, max_song_seconds=4.0).val_dataloader()))
    data = data_module(corpus, max_song_seconds=4.0, shorten_songs=True)
    row = next(iter(data.val_dataloader()))
    assert row.audio.lengths.tolist() == [400] * 3
    assert data.store.shortened == {"val-0", "val-1", "val-2"}


def test_a_style_that_takes_nothing_is_an_error(corpus: Path) -> None:
    with pytest.raises(UserError, match="none of its conversations has the questions"):
        next(iter(data_module(corpus, style=DirectAnswers(["lyrics"])).train_dataloader()))


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cuts_train.jsonl.gz, which does not exist"):
        data_module(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), "expected readable audio"),
        (lambda path: path.write_bytes(b"no audio"), "expected readable audio"),
        (
            lambda path: soundfile.write(path, np.zeros(400), 16_000),
            "expected 10.00 s of audio, got|expected readable",
        ),
    ],
)
def test_spoilt_audio_is_named(tmp_path: Path, spoil, message: str) -> None:  # type: ignore[no-untyped-def]
    corpus = write_corpus(tmp_path / "corpus", train=1, held_out=1)
    spoil(corpus / "audio" / "train-0.flac")
    with pytest.raises(UserError, match=rf"train-0.flac: ({message})"):
        next(iter(data_module(corpus, cache_features=False).train_dataloader()))
    shutil.rmtree(corpus)


def test_samples_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", train=1, held_out=1)
    waveform = np.zeros(160_000, dtype=np.float32)
    waveform[5] = np.nan
    soundfile.write(corpus / "audio" / "train-0.wav", waveform, 16_000, subtype="FLOAT")
    (corpus / "audio" / "train-0.wav").replace(corpus / "audio" / "train-0.flac")
    with pytest.raises(UserError, match="expected finite samples, got NaN or infinity"):
        next(iter(data_module(corpus, cache_features=False).train_dataloader()))


def test_a_corpus_without_songs_is_an_error(corpus: Path, tmp_path: Path) -> None:
    empty = shutil.copytree(corpus, tmp_path / "empty")
    CutSet([]).to_file(empty / "cuts_train.jsonl.gz")
    with pytest.raises(UserError, match=r"empty/cuts_train\.jsonl\.gz: expected at least one cut, got none"):
        data_module(empty).train_dataloader()


def test_a_curriculum_that_lets_no_song_in_is_an_error(corpus: Path) -> None:
    data = data_module(corpus)
    data.curriculum = lambda row: {"max_duration": 5.0}
    with pytest.raises(UserError, match=r"first lesson \(max_duration 5\) lets in none of 8 training cuts"):
        data.train_dataloader()


def test_a_cut_that_does_not_say_how_difficult_it_is_cannot_be_limited(corpus: Path) -> None:
    data = data_module(corpus)
    data.curriculum = lambda row: {"max_difficulty": 1.0}
    cut = data.songs[0][0]
    assert data.admits(cut)
    del cut.custom["difficulty"]
    with pytest.raises(UserError, match=r"cut train-0: expected custom.difficulty"):
        data.admits(cut)


def test_without_limits_on_cost_rows_are_those_of_lhotse(corpus: Path) -> None:
    data = data_module(corpus, seed=3)
    rows = [[row.examples[root]["cut"] for root in row.tree.roots()] for row in data.train_dataloader()]
    sampler = SimpleCutSampler(CutSet(list(data.songs[0])), max_duration=40.0, shuffle=True, seed=3)
    assert rows == [[cut.id for cut in cuts] for cuts in sampler]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"prompts_only": True},
        {"questions_per_song": 0},
        {"style": ThinkTraces(MachineNoise(missing=0.2, wrong=0.5, systematic={}), forms=["open", "caption"])},
        {"max_song_seconds": 7.3, "shorten_songs": True},
    ],
)
def test_what_a_song_costs_is_known_before_it_is_loaded(corpus: Path, settings: dict[str, object]) -> None:
    dataset = data_module(corpus, **settings).train_dataloader().dataset.conversations
    for cut in data_module(corpus).songs[0]:
        assert dataset.workload(cut) == row_workload(dataset[[cut]])


def test_rows_are_filled_up_to_their_tokens(corpus: Path) -> None:
    loader = data_module(corpus, max_tokens=1100).train_dataloader()
    for epoch in range(2):
        loader.sampler.state = SamplerState(epoch)
        rows = list(loader)
        tokens = [row.tree.num_tokens for row in rows]
        assert max(tokens) <= 1100
        next_songs = [sum(row.tree.lengths[s] for s in next(row.tree.trees())) for row in rows[1:]]
        assert all(row + song > 1100 for row, song in zip(tokens[:-1], next_songs, strict=True))
        assert sorted(row.examples[root]["cut"] for row in rows for root in row.tree.roots()) == [
            f"train-{n}" for n in range(8)
        ]


def test_rows_are_filled_up_to_their_flops(corpus: Path) -> None:
    cost_model = MusicFlamingoCost(tiny_model().network.config)
    rows = list(data_module(corpus, max_flops=4e9).train_dataloader())
    flops = [cost_model.flops(row_workload(row)).forward for row in rows]
    assert max(flops) <= 4e9
    assert min(flops[:-1]) > 2e9


def test_a_song_too_large_for_a_row_is_named_before_training_begins(corpus: Path) -> None:
    with pytest.raises(UserError, match=r"cut train-\d: expected at most 99 tokens \(data.max_tokens\)"):
        data_module(corpus, max_tokens=99).train_dataloader()
    with pytest.raises(UserError, match=r"cut train-\d: expected at most 1000 FLOPs \(data.max_flops\)"):
        data_module(corpus, max_flops=1e3).train_dataloader()


def test_songs_the_curriculum_keeps_out_need_no_room(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, train=3)
    long = write_corpus(tmp_path / "long", train=1, seconds=20.0)
    cuts = [*data_module(corpus).songs[0], *data_module(long).songs[0]]
    cuts[-1].id = "long"
    data = data_module(corpus, max_tokens=600)
    data.songs[0].songs.cuts = cuts
    with pytest.raises(UserError, match="cut long: expected at most 600 tokens"):
        data.train_dataloader()
    data.curriculum = lambda row: {"max_duration": 15.0}
    rows = list(data.train_dataloader())
    assert len([root for row in rows for root in row.tree.roots()]) == 3
    assert rows[-1].origin.state.skipped == 1


def test_a_blend_visits_each_corpus_as_often_as_its_passes_say(tmp_path: Path) -> None:
    corpora = [write_corpus(tmp_path / name, train=songs, held_out=2) for name, songs in (("a", 3), ("b", 4))]
    (corpora[1] / "cuts_val.jsonl.gz").unlink()
    data = data_module(corpora[0])
    data.blend = Blend([Source(str(corpora[0]), passes=2.0), Source(str(corpora[1]), passes=0.5)])
    data.setup("fit")
    sampler = data.train_dataloader().sampler
    heard: Counter[str] = Counter()
    for epoch in range(2):
        sampler.state = SamplerState(epoch)
        heard.update(str(cut.recording.sources[0].source) for row in sampler for cut in row.cuts)
    assert sorted(heard.values()) == [1] * 4 + [4] * 3
    assert {Path(path).is_relative_to(corpora[0]) for path, visits in heard.items() if visits == 4} == {True}
    assert len(data.cuts["val"]) == 2
    assert len(data.cuts["test"]) == 4


def test_a_corpus_without_songs_to_validate_on_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = write_corpus(tmp_path)
    (corpus / "cuts_val.jsonl.gz").unlink()
    assert list(data_module(corpus).val_dataloader()) == []
    assert f"{corpus}: no val songs: nothing is heard there" in capsys.readouterr().out
