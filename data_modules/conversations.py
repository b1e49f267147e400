"""The data of the training stages: corpora of songs with conversations, in rows."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lhotse import CutSet
from lhotse.cut import Cut
from lhotse.dataset import SimpleCutSampler
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from music_flamingo.batch import PackedBatch
from music_flamingo.corpora.conversations import read_vocabulary
from music_flamingo.corpora.places import cache_folder, is_url
from music_flamingo.corpora.song_lines import Songs
from music_flamingo.corpora.songs import JoinedSongs, holds_split, open_songs
from music_flamingo.data_modules.conversation_rows import ConversationDataset
from music_flamingo.data_modules.feature_store import FeatureStore
from music_flamingo.data_modules.loading_processes import end_with_parent
from music_flamingo.data_modules.quarantine import SongsWithoutQuarantine, quarantine_line
from music_flamingo.data_modules.song_order import Blend, SongOrder, Source
from music_flamingo.data_modules.song_packing import RowLimits, SongCost
from music_flamingo.data_modules.song_sampler import SongSampler
from music_flamingo.data_modules.step_size import StepSize, counted_step_size
from music_flamingo.data_modules.styles import ConversationStyle
from music_flamingo.data_modules.training_rows import TrainingRows, UsedRows
from music_flamingo.errors import UserError
from music_flamingo.models.conversation_format import ConversationFormat
from music_flamingo.models.model_kinds import cost_model_of, frontend_of
from music_flamingo.strategies.row_ranks import row_rank


class ConversationDataModule(LightningDataModule):
    """Songs and what is said about them, from a corpus folder, as `PackedBatch` rows.

    One cut, as JSON: `{"id": "...", "duration": 10.0, "recording": {...}, "custom": {"piece": "...", "truth": {...},
    "conversations": [{"id": "...", "question_name": "drums", "form": "open", "question": "...", "answer": "yes"}]}}`.

    Args:
        corpus: folder with `cuts_train.jsonl.gz`, and `cuts_val.jsonl.gz` and `cuts_test.jsonl.gz` where there is
            something to validate and test on, or what else `open_songs` reads, of lhotse Shar also a URL; or a blend
            of several.
        processor: Hugging Face directory whose processor reads text and audio.
        style: which conversations are used, and how their targets are written.
        test_style: the same for the test rows; None takes `style`.
        questions_per_song: conversations per song and visit in training; all share the song's audio tokens. With null
            all are asked at every visit: then a pass over the songs is a pass over what is said about them.
        prompts_only: training rows hold prompts without targets.
        max_duration: seconds of audio per training row, unless one of the next two limits it instead.
        max_tokens: the most tokens of a training row.
        max_flops: the most FLOPs of its forward pass, by the model of `processor`. With either, rows are filled as far
            as the limits allow, and in training on several ranks songs are divided so that all have as much to compute.
        test_max_duration: seconds of audio per validation or test row.
        max_song_seconds: longest song the model may hear.
        shorten_songs: hear only the beginning of a longer song, and count it, where False refuses it.
        cache_features: keep mel windows on disk, in the (first) corpus folder; for a URL in the user's cache.
        num_workers: processes that load ahead.
        seed: of the order of songs and the draw of questions.
    """

    def __init__(
        self,
        corpus: str | Blend,
        processor: str,
        style: ConversationStyle,
        test_style: ConversationStyle | None = None,
        questions_per_song: int | None = 6,
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
        self.blend = Blend([Source(corpus)]) if isinstance(corpus, str) else corpus
        self.corpus = self.blend.sources[0].corpus
        self.processor = processor
        self.style = style
        self.test_style = test_style or style
        self.questions_per_song = questions_per_song
        self.prompts_only = prompts_only
        self.max_duration = max_duration
        self.row_limits = (
            RowLimits(max_duration=max_duration)
            if max_tokens is None and max_flops is None
            else RowLimits(max_tokens, max_flops)
        )
        self.test_max_duration = test_max_duration
        self.max_song_seconds = max_song_seconds
        self.shorten_songs = shorten_songs
        self.cache_features = cache_features
        self.num_workers = num_workers
        self.seed = seed
        self.curriculum: Callable[[int], Mapping[str, float]] = lambda row: {}
        self.used_rows: UsedRows | None = None
        self._restored: Mapping[str, Any] | None = None

    def setup(self, stage: str) -> None:
        self.chat = ConversationFormat.from_directory(self.processor)
        self.store = FeatureStore(
            frontend_of(self.chat.processor),
            self._features_folder if self.cache_features else None,
            self.max_song_seconds,
            self.shorten_songs,
        )
        self.vocabulary = read_vocabulary(self.corpus)
        self.songs = [self._songs_of(source.corpus, "train") for source in self.blend.sources]
        self.cuts = {split: CutSet(self._asked_about(split)) for split in ("val", "test")}
        for source, songs in zip(self.blend.sources, self.songs, strict=True):
            line = quarantine_line(songs, source.corpus)
            if line is not None and self._is_first:
                print(line)

    def train_dataloader(self) -> DataLoader[PackedBatch]:
        conversations = self._training_conversations()
        sampler = self._train_sampler(conversations)
        self.used_rows = UsedRows(sampler, lambda: self._global_step)
        if self._restored is not None:
            self.used_rows.load_state_dict(self._restored)
        return self._loader(TrainingRows(conversations), sampler)

    def step_size(self, steps: int) -> StepSize:
        """What the training rows of all ranks hold, counted in the first `steps` of the first epoch."""
        conversations = self._training_conversations()
        return counted_step_size(self._train_sampler(conversations), conversations, steps)

    def on_before_batch_transfer(self, batch: PackedBatch, dataloader_idx: int) -> PackedBatch:
        """Note which training row is next; Lightning calls this for every row in turn, in the training process."""
        if batch.origin is not None and self.used_rows is not None:
            self.used_rows.begin(batch.origin)
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Where training is in its data: after the last optimizer step, whatever was loaded ahead."""
        if self.used_rows is None:
            return {}
        self.used_rows.commit()
        state = self.used_rows.state_dict()
        return {**state, "left_out": {what: self._over_ranks(n) for what, n in state["left_out"].items()}}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        # Counts are those of all ranks: one goes on from them, the others from nothing.
        nothing = {} if self._is_first else {"left_out": dict.fromkeys(state_dict.get("left_out", {}), 0)}
        self._restored = {**state_dict, **nothing} if state_dict else None

    def teardown(self, stage: str) -> None:
        """Say what training left out."""
        if stage != "fit" or self.used_rows is None:
            return
        self.used_rows.commit()
        # Every rank passes by all songs, and counts all that are kept out.
        skipped = {"visits that curriculum or quarantine kept out": self.used_rows.sampler.state.skipped}
        for what, count in self.used_rows.left_out.items():
            skipped[what] = self._over_ranks(count)
        for what, count in skipped.items():
            if count and self._is_first:
                print(f"left out: {count} {what}")

    def val_dataloader(self) -> DataLoader[PackedBatch]:
        self._say_if_empty("val")
        return self._fixed_loader(
            self.cuts["val"],
            self.style,
            self.questions_per_song,
            prompts_only=self.prompts_only,
            world_size=self._world_size,
            rank=self._rank,
        )

    def test_dataloader(self) -> DataLoader[PackedBatch]:
        self._say_if_empty("test")
        # lhotse gives ranks equally many rows, some songs twice if need be: here each song is to be answered once, also
        # where ranks share rows in training.
        rank, ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        share = CutSet(list(self.cuts["test"])[rank::ranks])
        return self._fixed_loader(share, self.test_style, None, prompts_only=True, world_size=1, rank=0)

    def predict_dataloader(self) -> DataLoader[PackedBatch]:
        return self.test_dataloader()

    def admits(self, cut: Cut, row: int = 0) -> bool:
        """Whether a cut may be in the row of that number: the curriculum lets it in, and something is asked about it.

        Raises:
            UserError: the curriculum limits the difficulty, and the cut does not say how difficult it is.
        """
        if not cut.custom["conversations"]:  # in quarantine
            return False
        limits = self.curriculum(row)
        if "max_difficulty" in limits and "difficulty" not in cut.custom:
            raise UserError(
                f"cut {cut.id}: expected custom.difficulty, as the curriculum limits it, got none: "
                "add it, or leave max_difficulty out of the lessons"
            )
        is_short: bool = cut.duration <= limits.get("max_duration", math.inf)
        is_easy: bool = cut.custom.get("difficulty", 0) <= limits.get("max_difficulty", math.inf)
        return is_short and is_easy

    @property
    def skipped_by_curriculum(self) -> int:
        """Visits of songs that curriculum or quarantine kept out so far."""
        return 0 if self.used_rows is None else self.used_rows.sampler.state.skipped

    def _say_if_empty(self, split: str) -> None:
        if not len(self.cuts[split]) and self._is_first:
            print(f"{self.corpus}: no {split} songs: nothing is heard there")

    def _songs_of(self, corpus: str, split: str) -> SongsWithoutQuarantine:
        return SongsWithoutQuarantine(open_songs(corpus, split), corpus)

    def _asked_about(self, split: str) -> list[Cut]:
        corpora = [source.corpus for source in self.blend.sources]
        songs = chain.from_iterable(self._songs_of(each, split) for each in corpora if holds_split(each, split))
        return [cut for cut in songs if cut.custom["conversations"]]

    def _require_songs(self, songs: Sequence[Cut]) -> None:
        """Raise a UserError when there are no songs, or the curriculum's first lesson lets none in."""
        if not len(songs):
            raise UserError(f"{self.corpus}/cuts_train.jsonl.gz: expected at least one cut, got none: add some")
        if not any(map(self.admits, songs)):
            limits = ", ".join(f"{name} {limit:g}" for name, limit in self.curriculum(0).items()) or "no limits"
            raise UserError(
                f"{self.corpus}: the curriculum's first lesson ({limits}) lets in none of {len(songs)} training cuts: "
                "raise its limits, or leave the Curriculum out of trainer.callbacks"
            )

    def _training_conversations(self) -> ConversationDataset:
        return ConversationDataset(
            self.chat, self.store, self.style, self.questions_per_song, self.prompts_only, self.seed
        )

    def _train_sampler(self, conversations: ConversationDataset) -> SongSampler:
        songs = JoinedSongs(self.songs)
        self._require_songs(songs)
        sizes = [len(each) for each in self.songs]
        order = SongOrder(tuple(sizes), tuple(self.blend.passes(sizes)), self.seed)
        cost = self._song_cost(conversations)
        self._require_room(songs, cost)
        return SongSampler(songs, order, cost, self.row_limits, self.admits, self._world_size, self._rank)

    def _require_room(self, songs: Songs, cost: Callable[[Cut], SongCost]) -> None:
        """Raise a UserError if no row can hold the longest song: not only when its turn comes, hours from here."""
        if self.row_limits.max_duration is not None:
            return
        longest_first = np.argsort(-songs.durations)
        short_enough = songs.durations[longest_first] <= self.curriculum(0).get("max_duration", math.inf)
        cuts = (songs[int(number)] for number in longest_first[short_enough])
        longest = next(filter(self.admits, cuts), None)
        if longest is not None:
            self.row_limits.require_room(longest.id, cost(longest))

    def _song_cost(self, conversations: ConversationDataset) -> Callable[[Cut], SongCost]:
        if self.row_limits.max_duration is not None:
            return lambda cut: SongCost(flops=cut.duration, songs=1, longest=cut.duration)
        cost_model = cost_model_of(self.processor)

        def cost(cut: Cut) -> SongCost:
            work = conversations.workload(cut)
            return SongCost(work.tokens, cost_model.flops(work).forward)

        return cost

    def _fixed_loader(
        self, cuts: CutSet, style: ConversationStyle, per_song: int | None, *, prompts_only: bool, **ranks: int
    ) -> DataLoader[PackedBatch]:
        sampler = SimpleCutSampler(cuts, max_duration=self.test_max_duration, shuffle=False, **ranks)
        dataset = ConversationDataset(self.chat, self.store, style, per_song, prompts_only, self.seed)
        return self._loader(dataset, sampler)

    def _loader(self, dataset: Dataset[PackedBatch], sampler: Iterable[Any]) -> DataLoader[PackedBatch]:
        return DataLoader(
            dataset,
            sampler=sampler,
            batch_size=None,
            num_workers=self.num_workers,
            worker_init_fn=end_with_parent if self.num_workers else None,
        )

    @property
    def _features_folder(self) -> Path:
        folder = cache_folder(self.corpus) if is_url(self.corpus) else Path(self.corpus)
        return folder / "features"

    @property
    def _global_step(self) -> int:
        return self.trainer.global_step if self.trainer else 0

    @property
    def _is_first(self) -> bool:
        return self.trainer is None or self.trainer.is_global_zero

    @property
    def _rank(self) -> int:
        return row_rank(self.trainer).number if self.trainer else 0

    @property
    def _world_size(self) -> int:
        return row_rank(self.trainer).ranks if self.trainer else 1

    def _over_ranks(self, count: int) -> int:
        if self.trainer is None:
            return count
        strategy: Any = self.trainer.strategy  # Lightning does not declare the method
        own = torch.tensor(count if row_rank(self.trainer).is_first else 0, device=strategy.root_device)
        return int(strategy.reduce(own, reduce_op="sum"))
