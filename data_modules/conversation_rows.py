"""From songs and what is said about them to packed rows."""

import random
from collections.abc import Iterable
from typing import NamedTuple

import torch
from lhotse.cut import Cut
from torch.utils.data import Dataset

from music_flamingo.batch import AudioWindows, PackedBatch, RowBuilder
from music_flamingo.corpora.song_audio import sounds_of
from music_flamingo.data_modules.feature_store import FeatureStore
from music_flamingo.data_modules.styles import Conversation, ConversationStyle
from music_flamingo.errors import UserError
from music_flamingo.models.conversation_format import ConversationFormat
from music_flamingo.models.cost_model import Workload, song_workload


class ConversationDataset(Dataset[PackedBatch]):
    """Turns cuts into rows: one root per song, one branch per conversation.

    Args:
        chat: token ids of songs and conversations.
        store: mel windows of songs.
        style: which conversations, and their targets.
        per_song: conversations drawn per song and visit; None takes all of them.
        prompts_only: leave out the targets, for stages that sample.
        seed: of the draws.

    Attributes:
        dropped: conversations of the last row that have no target.
    """

    def __init__(
        self,
        chat: ConversationFormat,
        store: FeatureStore,
        style: ConversationStyle,
        per_song: int | None,
        prompts_only: bool,
        seed: int,
    ) -> None:
        self.chat = chat
        self.store = store
        self.style = style
        self.per_song = per_song
        self.prompts_only = prompts_only
        self.seed = seed
        self.dropped = 0

    def __getitem__(self, cuts: Iterable[Cut]) -> PackedBatch:
        self.dropped = 0
        row = RowBuilder(self.chat.processor.audio_token_id)
        for cut in cuts:
            self._add_song(row, cut)
        return row.build()

    def workload(self, cut: Cut) -> Workload:
        """What a cut adds to its row, from its duration and its texts alone; answers to be sampled come on top.

        Counted, not estimated: the draw of conversations is known beforehand, and their tokens decide what fits.
        """
        sounds = [self.store.mel_lengths(sound) for sound in sounds_of(cut)]
        audio_tokens = sum(int(self.store.frontend.token_lengths(sound).sum()) for sound in sounds)
        branches = [self._branch(conversation, cut) for conversation in self._draw(cut)]
        lengths = [(len(branch.prompt), len(branch.answer)) for branch in branches if branch is not None]
        return song_workload(torch.cat(sounds), audio_tokens, self.chat.tokens_around_audio(len(sounds)), lengths)

    def num_conversations(self, cut: Cut) -> int:
        """How many branches a cut adds to its row."""
        return sum(self._branch(conversation, cut) is not None for conversation in self._draw(cut))

    def _add_song(self, row: RowBuilder, cut: Cut) -> None:
        sounds = [self.store.windows(sound) for sound in sounds_of(cut)]
        example = {"cut": cut.id, "custom": cut.custom}
        song = row.add(self.chat.song_ids(*sounds), windows=AudioWindows.concatenate(sounds), example=example)
        for conversation in self._draw(cut):
            branch = self._branch(conversation, cut)
            if branch is None:
                self.dropped += 1
                continue
            row.add(
                branch.prompt + branch.answer,
                parent=song,
                train_from=len(branch.prompt) if branch.answer else None,
                weights=branch.weights,
                example={**example, "conversation": conversation},
            )

    def _branch(self, conversation: Conversation, cut: Cut) -> "_Branch | None":
        """No answer where only prompts are wanted; None where the style has no target."""
        prompt = self.chat.question_ids(conversation["question"], think=self.style.think)
        if self.prompts_only:
            return _Branch(prompt, [], [])
        target = self.style.target(conversation, cut.custom, cut.id)
        if target is None:
            return None
        answer = self.chat.answer_ids(target)
        weights = self.chat.answer_weights(answer, self.style.answer_weight(conversation))
        for question, further_target in self.style.follow_ups(conversation):
            asked, answered = self.chat.follow_up_ids(question), self.chat.answer_ids(further_target)
            answer = answer + asked + answered
            weights = weights + [0.0] * len(asked) + [1.0] * len(answered)
        return _Branch(prompt, answer, weights)

    def _draw(self, cut: Cut) -> list[Conversation]:
        taken = [c for c in cut.custom["conversations"] if self.style.takes(c)]
        if not taken:
            raise UserError(
                f"cut {cut.id}: none of its conversations has the questions and forms the recipe's style names"
            )
        if self.per_song is None or len(taken) <= self.per_song:
            return taken
        visit = f" {cut.custom['visit']}" if "visit" in cut.custom else ""
        rng = random.Random(f"{self.seed} {cut.custom.get('epoch', 0)} {cut.id}{visit}")
        always = [c for c in taken if self.style.is_always_asked(c)][: self.per_song]
        others = [c for c in taken if not self.style.is_always_asked(c)]
        return always + rng.sample(others, min(len(others), self.per_song - len(always)))


class _Branch(NamedTuple):
    """Tokens of a conversation; what is asked in the middle of the answers has no weight."""

    prompt: list[int]
    answer: list[int]
    weights: list[float]
