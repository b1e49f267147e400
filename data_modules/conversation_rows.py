"""From songs and what is said about them to packed rows."""

import random
from collections.abc import Iterable

from lhotse.cut import Cut
from torch.utils.data import Dataset

from music_flamingo.batch import PackedBatch, RowBuilder
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
        drawn = [self._token_ids(conversation, cut) for conversation in self._draw(cut)]
        branches = [(len(prompt), len(answer)) for prompt, answer in drawn if answer is not None]
        return song_workload(self.store.mel_lengths(cut), self.chat.tokens_around_audio, branches)

    def _add_song(self, row: RowBuilder, cut: Cut) -> None:
        windows = self.store.windows(cut)
        song = row.add(self.chat.song_ids(windows), windows=windows, example={"cut": cut.id, "custom": cut.custom})
        for conversation in self._draw(cut):
            prompt, answer = self._token_ids(conversation, cut)
            example = {"cut": cut.id, "custom": cut.custom, "conversation": conversation}
            if self.prompts_only:
                row.add(prompt, parent=song, example=example)
                continue
            if answer is None:
                self.dropped += 1
                continue
            row.add(
                prompt + answer,
                parent=song,
                train_from=len(prompt),
                weights=self.chat.answer_weights(answer, self.style.answer_weight(conversation)),
                example=example,
            )

    def _token_ids(self, conversation: Conversation, cut: Cut) -> tuple[list[int], list[int] | None]:
        """Prompt and answer; no answer where only prompts are wanted, None where the style has no target."""
        prompt = self.chat.question_ids(conversation["question"], think=self.style.think)
        if self.prompts_only:
            return prompt, []
        target = self.style.target(conversation, cut.custom, cut.id)
        return prompt, None if target is None else self.chat.answer_ids(target)

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
