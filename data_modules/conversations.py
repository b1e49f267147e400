"""From a corpus of songs with conversations to packed rows."""

import math
import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch
from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.dataset import SimpleCutSampler
from lhotse.dataset.sampling.base import CutSampler
from lhotse.utils import fastcopy
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset
from transformers import MusicFlamingoConfig

from music_flamingo.batch import PackedBatch, RowBuilder
from music_flamingo.corpora.conversations import read_cuts, read_vocabulary
from music_flamingo.data_modules.balanced_sampler import BalancedCutSampler
from music_flamingo.data_modules.feature_store import FeatureStore
from music_flamingo.data_modules.song_packing import RowLimits, SongCost
from music_flamingo.data_modules.styles import Conversation, ConversationStyle
from music_flamingo.errors import UserError
from music_flamingo.models.audio_frontend import AudioFrontend
from music_flamingo.models.conversation_format import ConversationFormat
from music_flamingo.models.cost_model import CostModel, Workload, song_workload


class ConversationDataset(Dataset[PackedBatch]):
    """Turns lhotse's mini-batches of cuts into rows: one root per song, one branch per conversation.

    Args:
        chat: token ids of songs and conversations.
        store: mel windows of songs.
        style: which conversations, and their targets.
        per_song: conversations drawn per song and visit; None takes all of them.
        prompts_only: leave out the targets, for stages that sample.
        seed: of the draws.

    Attributes:
        dropped: conversations without a target, by question.
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
        self.dropped: Counter[str] = Counter()

    def __getitem__(self, cuts: CutSet) -> PackedBatch:
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
                self.dropped[conversation["question_name"]] += 1
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
        rng = random.Random(f"{self.seed} {cut.custom.get('epoch', 0)} {cut.id}")
        always = [c for c in taken if self.style.is_always_asked(c)][: self.per_song]
        others = [c for c in taken if not self.style.is_always_asked(c)]
        return always + rng.sample(others, min(len(others), self.per_song - len(always)))


class ConversationDataModule(LightningDataModule):
    """Songs and what is said about them, from a corpus folder, as `PackedBatch` rows.

    One cut, as JSON: `{"id": "...", "duration": 10.0, "recording": {...}, "custom": {"piece": "...", "truth": {...},
    "conversations": [{"id": "...", "question_name": "drums", "form": "open", "question": "...", "answer": "yes"}]}}`.

    Args:
        corpus: folder with `cuts_train.jsonl.gz`, `cuts_val.jsonl.gz` and `cuts_test.jsonl.gz`.
        processor: Hugging Face directory whose processor reads text and audio.
        style: which conversations are used, and how their targets are written.
        test_style: the same for the test rows; None takes `style`.
        questions_per_song: conversations per song and visit in training; all share the song's audio tokens.
        prompts_only: training rows hold prompts without targets.
        max_duration: seconds of audio per training row, unless one of the next two limits it instead.
        max_tokens: the most tokens of a training row.
        max_flops: the most FLOPs of its forward pass, by the model of `processor`. With either, rows are filled as far
            as the limits allow, and in training on several ranks songs are divided so that all have as much to compute.
        test_max_duration: seconds of audio per validation or test row.
        max_song_seconds: longest song the model may hear.
        shorten_songs: hear only the beginning of a longer song, and count it, where False refuses it.
        cache_features: keep mel windows on disk, in the corpus folder.
        num_workers: processes that load ahead.
        seed: of the order of songs and the draw of questions.
    """

    def __init__(
        self,
        corpus: str,
        processor: str,
        style: ConversationStyle,
        test_style: ConversationStyle | None = None,
        questions_per_song: int = 6,
        prompts_only: bool = False,
        max_duration: float = 160.0,
        max_tokens: int | None = None,
        max_flops: float | None = None,
        test_max_duration: float = 320.0,
        max_song_seconds: float = 600.0,
        shorten_songs: bool = False,
        cache_features: bool = True,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.corpus = Path(corpus)
        self.processor = processor
        self.style = style
        self.test_style = test_style or style
        self.questions_per_song = questions_per_song
        self.prompts_only = prompts_only
        self.max_duration = max_duration
        self.row_limits = RowLimits(max_tokens, max_flops)
        self.test_max_duration = test_max_duration
        self.max_song_seconds = max_song_seconds
        self.shorten_songs = shorten_songs
        self.cache_features = cache_features
        self.num_workers = num_workers
        self.seed = seed
        self.curriculum_limits: Mapping[str, float] = {}
        self.skipped_by_curriculum = 0
        self.train_dataset: ConversationDataset | None = None

    def setup(self, stage: str) -> None:
        self.chat = ConversationFormat.from_directory(self.processor)
        self.store = FeatureStore(
            AudioFrontend(self.chat.processor.feature_extractor),
            self.corpus / "features" if self.cache_features else None,
            self.max_song_seconds,
            self.shorten_songs,
        )
        self.vocabulary = read_vocabulary(self.corpus)
        self.cuts = {split: read_cuts(self.corpus, split) for split in ("train", "val", "test")}

    def train_dataloader(self) -> DataLoader[PackedBatch]:
        self._require_songs(self.cuts["train"])
        dataset = ConversationDataset(
            self.chat, self.store, self.style, self.questions_per_song, self.prompts_only, self.seed
        )
        sampler = self._train_sampler(dataset)
        sampler.filter(self.admits)
        sampler.map(lambda cuts: CutSet([_at_epoch(cut, sampler.epoch) for cut in cuts]))
        self.skipped_by_curriculum = 0  # asking before training is no skipping
        self.train_dataset = dataset
        return DataLoader(dataset, sampler=sampler, batch_size=None, num_workers=self.num_workers)

    def teardown(self, stage: str) -> None:
        """Say what training left out. Counts of loading processes (`num_workers` above 0) stay in those."""
        if stage != "fit" or self.train_dataset is None:
            return
        dropped = sum(self.train_dataset.dropped.values())
        left_out = {
            "conversations whose chain the checker dropped": self._over_ranks(dropped),
            f"songs shortened to {self.max_song_seconds:g} s": self._over_ranks(len(self.store.shortened)),
            # Each rank's sampler passes by all songs and counts them all.
            "visits the curriculum kept out": self.skipped_by_curriculum,
        }
        for what, count in left_out.items():
            if count and self._rank == 0:
                print(f"left out: {count} {what}")

    def val_dataloader(self) -> DataLoader[PackedBatch]:
        return self._fixed_loader(self.cuts["val"], self.style, self.questions_per_song, prompts_only=self.prompts_only)

    def test_dataloader(self) -> DataLoader[PackedBatch]:
        # lhotse gives ranks equally many rows, some songs twice if need be: here each song is to be answered once.
        share = CutSet(list(self.cuts["test"])[self._rank :: self._world_size])
        return self._fixed_loader(share, self.test_style, None, prompts_only=True, world_size=1, rank=0)

    def predict_dataloader(self) -> DataLoader[PackedBatch]:
        return self.test_dataloader()

    def admits(self, cut: Cut) -> bool:
        """Whether the curriculum's present limits let a cut in; what they keep out is counted.

        Raises:
            UserError: the curriculum limits the difficulty, and the cut does not say how difficult it is.
        """
        limits = self.curriculum_limits
        if "max_difficulty" in limits and "difficulty" not in cut.custom:
            raise UserError(
                f"cut {cut.id}: expected custom.difficulty, as the curriculum limits it, got none: "
                "add it, or leave max_difficulty out of the lessons"
            )
        is_short: bool = cut.duration <= limits.get("max_duration", math.inf)
        is_easy: bool = cut.custom.get("difficulty", 0) <= limits.get("max_difficulty", math.inf)
        self.skipped_by_curriculum += not (is_short and is_easy)
        return is_short and is_easy

    def _require_songs(self, cuts: CutSet) -> None:
        """Raise a UserError when there are no songs, or the curriculum's first lesson lets none in."""
        if next(iter(cuts), None) is None:
            raise UserError(f"{self.corpus / 'cuts_train.jsonl.gz'}: expected at least one cut, got none: add some")
        if not any(self.admits(cut) for cut in cuts):
            limits = ", ".join(f"{name} {limit:g}" for name, limit in self.curriculum_limits.items()) or "no limits"
            raise UserError(
                f"{self.corpus}: the curriculum's first lesson ({limits}) lets in none of {len(cuts)} training cuts: "
                "raise its limits, or leave the Curriculum out of trainer.callbacks"
            )

    def _train_sampler(self, dataset: ConversationDataset) -> CutSampler:
        cuts = self.cuts["train"]
        if self.row_limits == RowLimits():
            return SimpleCutSampler(cuts, max_duration=self.max_duration, shuffle=True, seed=self.seed)
        cost_model = CostModel(MusicFlamingoConfig.from_pretrained(self.processor, local_files_only=True))

        def cost(cut: Cut) -> SongCost:
            work = dataset.workload(_at_epoch(cut, sampler.epoch))
            return SongCost(work.tokens, cost_model.flops(work).forward)

        sampler = BalancedCutSampler(cuts, cost, self.row_limits, shuffle=True, seed=self.seed)
        longest = max(filter(self.admits, cuts), key=lambda cut: cut.duration)
        self.row_limits.require_room(longest.id, cost(longest))  # not only when its turn comes, hours from here
        return sampler

    def _fixed_loader(
        self, cuts: CutSet, style: ConversationStyle, per_song: int | None, *, prompts_only: bool, **ranks: int
    ) -> DataLoader[PackedBatch]:
        sampler = SimpleCutSampler(cuts, max_duration=self.test_max_duration, shuffle=False, **ranks)
        dataset = ConversationDataset(self.chat, self.store, style, per_song, prompts_only, self.seed)
        return DataLoader(dataset, sampler=sampler, batch_size=None, num_workers=self.num_workers)

    @property
    def _rank(self) -> int:
        return self.trainer.global_rank if self.trainer else 0

    @property
    def _world_size(self) -> int:
        return self.trainer.world_size if self.trainer else 1

    def _over_ranks(self, count: int) -> int:
        if self.trainer is None:
            return count
        return int(self.trainer.strategy.reduce(torch.tensor(count), reduce_op="sum"))


def _at_epoch(cut: Cut, epoch: int) -> Cut:
    """A cut that knows the epoch, so that each visit draws other questions, whatever process draws them."""
    return fastcopy(cut, custom={**cut.custom, "epoch": epoch})
