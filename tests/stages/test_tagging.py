from collections.abc import Callable
from functools import partial

import pytest
import torch
from lightning import Trainer

from music_flamingo.batch import IGNORE_INDEX
from music_flamingo.data_modules import ConversationDataModule
from music_flamingo.errors import UserError
from music_flamingo.models import MusicFlamingo
from music_flamingo.stages import CosineSchedule, TaggingModule
from music_flamingo.stages.tagging import TaggingHead, pad_songs
from tests.builders import model_directory

ADAM = partial(torch.optim.AdamW, lr=3e-3)


def stage(**tags: list[str]) -> TaggingModule:
    return TaggingModule(MusicFlamingo(str(model_directory())), ADAM, tags, schedule=CosineSchedule(0.0))


def test_only_encoder_projector_and_heads_move(
    data: Callable[..., ConversationDataModule], train: Callable[..., Trainer]
) -> None:
    module = stage(drums=["True", "False"], texture=["solo", "duet", "full"])
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    train(module, data(questions_per_song=0), max_steps=2)
    moved = {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}
    assert any("audio_tower" in name for name in moved)
    assert any("heads.drums" in name for name in moved)
    assert not any("language_model" in name or "lm_head" in name for name in moved)
    assert module.model.windows_encoded == 8


def test_labels_come_from_the_truth_and_unknown_ones_are_ignored(
    data: Callable[..., ConversationDataModule],
) -> None:
    source = data(questions_per_song=0)
    source.setup("fit")
    row = next(iter(source.val_dataloader()))
    module = stage(drums=["True", "False"], dance=["reel"])
    assert module.labels(row, "drums").tolist() == [0, 1, 0]
    assert module.labels(row, "dance").tolist() == [IGNORE_INDEX] * 3


def test_a_truth_that_the_recipe_does_not_name_is_an_error(
    data: Callable[..., ConversationDataModule],
) -> None:
    source = data(questions_per_song=0)
    source.setup("fit")
    with pytest.raises(UserError, match=r"cut val-0: truth.texture is 'duet', none of model.tags.texture"):
        stage(texture=["solo"]).labels(next(iter(source.val_dataloader())), "texture")


def test_a_song_without_truth_is_an_error(data: Callable[..., ConversationDataModule]) -> None:
    source = data(questions_per_song=0)
    source.setup("fit")
    row = next(iter(source.val_dataloader()))
    del row.examples[row.tree.roots()[1]]["custom"]["truth"]
    with pytest.raises(
        UserError, match=r"^cut val-1: custom\.truth: expected facts of the song by name, got None: add"
    ):
        stage(drums=["True", "False"]).labels(row, "drums")


def test_a_song_is_tagged_alike_beside_a_longer_one() -> None:
    torch.manual_seed(0)
    head = TaggingHead(4, 3).double()
    short, long = torch.randn(2, 4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    weights = (short @ head.query.weight[0] + head.query.bias).exp()
    pooled = (weights[0] * short[0] + weights[1] * short[1]) / weights.sum()
    torch.testing.assert_close(head(*pad_songs([short, long]))[0], head.classify(pooled))
